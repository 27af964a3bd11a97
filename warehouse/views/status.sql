-- Per table: how many shards are made, pending and failed, and what the made ones hold.
create view status as
select
    s.table_name as "table",
    s.fingerprint,
    count(*) filter (w.state = 'made') as made,
    count(*) filter (w.state = 'pending') as pending,
    count(*) filter (w.state = 'failed') as failed,
    coalesce(sum(a.num_rows) filter (w.state = 'made'), 0)::bigint as "rows",
    coalesce(sum(a.num_dropped) filter (w.state = 'made'), 0)::bigint as dropped,
    sum(a.seconds) filter (w.state = 'made') / 3600 as hours
from stages as s
left join wanted as w using (table_name)
left join artifacts as a on (a.table_name, a.shard, a.fingerprint) = (w.table_name, w.shard, w.fingerprint)
group by s.position, s.table_name, s.fingerprint
order by s.position;
