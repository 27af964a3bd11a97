-- What each condition of the current filter costs: rows and hours that fail it, that it is the first to refuse, and
-- that fail nothing else, which is what would be won if it were lifted. It reads `examples` and `utterances`.
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
failing as (
    select unnest(e.failed) as condition, e.dropped, len(e.failed) = 1 as alone, u.seconds
    from examples as e
    join utterances as u using (utterance_id)
    where e.dropped is not null
)
select
    l.condition,
    l.holds,
    count(f.condition) as rows_failing,
    coalesce(sum(f.seconds), 0) / 3600 as hours_failing,
    count(*) filter (f.dropped = l.condition) as rows_refused,
    coalesce(sum(f.seconds) filter (f.dropped = l.condition), 0) / 3600 as hours_refused,
    count(*) filter (f.alone) as rows_alone,
    coalesce(sum(f.seconds) filter (f.alone), 0) / 3600 as hours_alone
from listed as l
left join failing as f using (condition)
group by l.position, l.condition, l.holds
order by l.position;
