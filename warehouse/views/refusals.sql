-- One row for each shard that exists and each reason for which it dropped rows.
create view refusals as
select
    table_name,
    shard,
    fingerprint,
    reason,
    (dropped -> reason ->> 'rows')::bigint as num_rows,
    (dropped -> reason ->> 'seconds')::double as seconds
from (select table_name, shard, fingerprint, dropped, unnest(json_keys(dropped)) as reason from artifacts);
