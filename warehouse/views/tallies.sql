-- One row for each shard that exists, each of its tallies and each group of its kept rows.
-- `tally` names the columns that rows were grouped by, and `of` holds their values; see `warehouse/tallies.py`.
create view tallies as
with named as (
    select table_name, shard, fingerprint, tally as counts, unnest(json_keys(tally)) as tally from artifacts
),
counted as (
    select
        table_name,
        shard,
        fingerprint,
        tally,
        unnest(
            from_json(
                counts -> tally,
                '[{"of": "JSON", "rows": "BIGINT", "seconds": "DOUBLE", "distinct": "JSON", "half_seconds": ["BIGINT"],
                "means": "JSON"}]'
            ),
            recursive := true
        )
    from named
)
select
    table_name,
    shard,
    fingerprint,
    tally,
    "of",
    "rows" as num_rows,
    seconds,
    "distinct" as num_distinct,  -- column -> how many values it has
    half_seconds,  -- rows that last 0 to 0.5 s, 0.5 to 1 s, … ; the last of 120 counts all that last longer
    means  -- column -> how many rows have a value, and their mean
from counted;
