-- The latest attempt of every shard that has failed and not been made since.
-- Nodes' clocks differ, and clocks are put right: what a flow run has made it has made after it failed there. A writer
-- may be killed before it leaves a record: the shard that it has made is younger than the failures before.
create view failures as
with tried as (
    select
        runs.*,
        max(ended_at) over same_flow as flow_ended_at,
        bool_or(state = 'made') over same_flow as flow_made
    from runs
    semi join wanted using (table_name, shard, fingerprint)
    window same_flow as (partition by table_name, shard, fingerprint, coalesce(flow_run_id, run_id))
)
select tried.* exclude (flow_ended_at, flow_made)
from tried
left join artifacts using (table_name, shard, fingerprint)
qualify row_number() over (partition by table_name, shard order by flow_ended_at desc, ended_at desc) = 1
    and not flow_made
    and (artifacts.made_at is null or artifacts.made_at < tried.ended_at)
order by table_name, shard;
