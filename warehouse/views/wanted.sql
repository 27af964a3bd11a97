-- One row for each shard that the last run asked for: made, pending, or failed (tried since, and not made).
with latest as (
    select table_name, shard, fingerprint, arg_max(state, ended_at) as state
    from runs
    group by all
)
select
    incoming.position,
    incoming.table_name,
    incoming.shard,
    incoming.fingerprint,
    case
        when incoming.made then 'made'
        when latest.state in ('failed', 'crashed') then 'failed'
        else 'pending'
    end as state,
    incoming.reason
from incoming
left join latest using (table_name, shard, fingerprint)
order by position, shard;
