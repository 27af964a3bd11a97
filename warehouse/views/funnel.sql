-- Per stage: what came in, what was kept, what was dropped and why, what is pending and what failed.
-- It adds up: in = kept + dropped + pending + failed. A stage that cuts rows into others (`utterances`, or the
-- source) answers for the rows it gave where it is made and for the rows it would read where it is not.
create view funnel as
with kept as (  -- what each shard that is made hands on
    select
        w.table_name,
        w.shard,
        a.num_rows - a.num_dropped as num_rows,
        a.seconds - coalesce(r.seconds, 0) as seconds,
        a.num_dropped,
        r.seconds as dropped_seconds
    from wanted as w
    join artifacts as a using (table_name, shard, fingerprint)
    left join (
        select table_name, shard, fingerprint, sum(seconds) as seconds from refusals group by all
    ) as r using (table_name, shard, fingerprint)
    where w.state = 'made'
),
reasons as (
    select
        table_name,
        json_group_object(reason, num_rows) as dropped,
        json_group_object(reason, seconds / 3600) as dropped_hours
    from (
        select r.table_name, r.reason, sum(r.num_rows)::bigint as num_rows, sum(r.seconds) as seconds
        from refusals as r
        join wanted as w using (table_name, shard, fingerprint)
        where w.state = 'made'
        group by all
        order by all
    )
    group by table_name
),
balance as (
    select
        s.position,
        s.table_name,
        s.one_to_one,
        sum(above.num_rows) as rows_above,
        sum(above.seconds) as seconds_above,
        sum(mine.num_rows) as rows_kept,
        sum(mine.seconds) as seconds_kept,
        sum(mine.num_dropped) as rows_dropped,
        sum(mine.dropped_seconds) as seconds_dropped,
        sum(above.num_rows) filter (w.state = 'pending') as rows_pending,
        sum(above.seconds) filter (w.state = 'pending') as seconds_pending,
        sum(above.num_rows) filter (w.state = 'failed') as rows_failed,
        sum(above.seconds) filter (w.state = 'failed') as seconds_failed,
        count(*) filter (w.state = 'made') as shards_made,
        count(*) filter (w.state = 'pending') as shards_pending,
        count(*) filter (w.state = 'failed') as shards_failed
    from stages as s
    join wanted as w using (table_name)
    left join kept as mine on mine.table_name = w.table_name and mine.shard = w.shard
    left join kept as above on above.table_name = s.first_table and above.shard = w.shard
    where not s.gathers
      and (s.first_table is null or s.first_table not in (select table_name from stages where gathers))
    group by all
)
select
    b.table_name,
    coalesce(
        case when b.one_to_one then b.rows_above end,
        coalesce(rows_kept, 0) + coalesce(rows_dropped, 0) + coalesce(rows_pending, 0) + coalesce(rows_failed, 0)
    )::bigint as rows_in,
    coalesce(
        b.seconds_above,
        coalesce(seconds_kept, 0) + coalesce(seconds_dropped, 0) + coalesce(seconds_pending, 0)
            + coalesce(seconds_failed, 0)
    ) / 3600 as hours_in,
    coalesce(rows_kept, 0)::bigint as rows_kept,
    coalesce(seconds_kept, 0) / 3600 as hours_kept,
    coalesce(rows_dropped, 0)::bigint as rows_dropped,
    coalesce(seconds_dropped, 0) / 3600 as hours_dropped,
    coalesce(r.dropped, '{}') as dropped_by_reason,
    coalesce(r.dropped_hours, '{}') as hours_dropped_by_reason,
    coalesce(rows_pending, 0)::bigint as rows_pending,
    coalesce(seconds_pending, 0) / 3600 as hours_pending,
    coalesce(rows_failed, 0)::bigint as rows_failed,
    coalesce(seconds_failed, 0) / 3600 as hours_failed,
    shards_made,
    shards_pending,
    shards_failed
from balance as b
left join reasons as r using (table_name)
order by b.position;
