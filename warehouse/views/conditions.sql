-- What each condition of the current filter costs: rows and hours that fail it, that it is the first to refuse, and
-- that fail nothing else, which is what would be won if it were lifted. From what was counted of each shard when it
-- was written; rows are read of shards alone that are older than that.
create view conditions as
with current as (
    select any_value(a.stage -> 'settings' -> 'where') as filter
    from artifacts as a
    join wanted as w using (table_name, shard, fingerprint)
    where a.table_name = 'examples' and w.state = 'made'
),
named as (
    select 0 as position, 'not_whole' as condition, 'kept in transcripts, phones and codes' as holds
    union all
    select position, filter -> (position - 1) ->> 0, filter -> (position - 1) ->> 1
    from (select filter, unnest(range(1, json_array_length(filter)::bigint + 1)) as position from current)
),
listed as (
    select condition, min(position) as position, string_agg(holds, ' and ' order by position) as holds
    from named
    group by condition
),
refused as (
    select
        from_json("of" -> 'failed', '["VARCHAR"]') as failed,
        "of" ->> 'dropped' as dropped,
        num_rows,
        seconds
    from tallies
    semi join (from wanted where state = 'made') using (table_name, shard, fingerprint)
    where table_name = 'examples' and tally = 'failed, dropped'
    union all
    select e.failed, e.dropped, count(*) as num_rows, sum(u.seconds) as seconds
    from uncounted_examples as e
    join uncounted_utterances as u using (utterance_id)
    where e.dropped is not null
    group by all
),
failing as (
    select unnest(failed) as condition, dropped, len(failed) = 1 as alone, num_rows, seconds from refused
)
select
    l.condition,
    l.holds,
    coalesce(sum(f.num_rows), 0)::bigint as rows_failing,
    coalesce(sum(f.seconds), 0) / 3600 as hours_failing,
    coalesce(sum(f.num_rows) filter (f.dropped = l.condition), 0)::bigint as rows_refused,
    coalesce(sum(f.seconds) filter (f.dropped = l.condition), 0) / 3600 as hours_refused,
    coalesce(sum(f.num_rows) filter (f.alone), 0)::bigint as rows_alone,
    coalesce(sum(f.seconds) filter (f.alone), 0) / 3600 as hours_alone
from listed as l
left join failing as f using (condition)
group by l.position, l.condition, l.holds
order by l.position;
