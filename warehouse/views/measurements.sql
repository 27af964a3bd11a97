-- What each stage took, by its settings and device: the latest successful attempt at each shard that exists.
-- No view, but what `warehouse.measurements` asks.
with attempts as (
    select table_name, shard, fingerprint, device, ended_at, seconds
    from runs
    where state = 'made'
    qualify row_number() over (partition by table_name, shard, fingerprint order by ended_at desc) = 1
),
recorded as (
    select shard, arg_max(seconds, made_at) as seconds from artifacts where table_name = 'recordings' group by shard
)
select
    a.table_name,
    m.device,
    a.stage::varchar as stage,
    count(*) as shards,
    sum(m.seconds) as worker_seconds,
    sum(a.seconds) as seconds,
    sum(r.seconds) as corpus_seconds,
    sum(a.num_rows)::bigint as num_rows,
    sum(a.bytes)::bigint as num_bytes,
    list(a.path order by m.ended_at desc)[:3] as paths
from attempts as m
join artifacts as a using (table_name, shard, fingerprint)
left join recorded as r using (shard)
group by a.table_name, m.device, a.stage::varchar
order by max(m.ended_at);
