-- The latest attempt of every shard that has failed and not been made since.
create view failures as
select runs.*
from runs
join wanted using (table_name, shard, fingerprint)
qualify row_number() over (partition by table_name, shard order by ended_at desc) = 1
    and runs.state in ('failed', 'crashed')
order by table_name, shard;
