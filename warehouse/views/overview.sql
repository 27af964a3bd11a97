-- The corpus at a glance, per split: who speaks, how much, how long an utterance is.
-- Quantiles are counted in half seconds and say the middle of theirs, so they are exact to a quarter of a second
-- (and at most a minute); all else is exact. A recording is taken to lie in one shard.
create view overview as
with current_tallies as (
    select tallies.*, "of" ->> 'split' as split
    from tallies
    semi join wanted using (table_name, shard, fingerprint)
),
utterance_tallies as (from current_tallies where table_name = 'utterances' and tally = 'speaker_id, split'),
spoken as (
    select
        split,
        count(distinct "of" ->> 'speaker_id') as speakers,
        sum((num_distinct ->> 'recording_id')::bigint)::bigint as recordings,
        sum(num_rows)::bigint as utterances,
        sum(seconds) / 3600 as hours,
        sum(seconds) / sum(num_rows) as mean_seconds
    from utterance_tallies
    group by split
),
lengths as (
    select split, half, sum(n) as n
    from (
        select split, unnest(half_seconds) as n, generate_subscripts(half_seconds, 1) as half from utterance_tallies
    )
    group by all
),
places as (
    select
        split,
        (half - 0.5) / 2 as seconds,
        sum(n) over (partition by split order by half) / sum(n) over (partition by split) as share
    from lengths
),
quantiles as (
    select
        split,
        min(seconds) filter (share >= 0.05)::double as p5_seconds,
        min(seconds) filter (share >= 0.95)::double as p95_seconds
    from places
    group by split
),
chosen as (
    select split, sum(num_rows)::bigint as examples, sum(seconds) / 3600 as example_hours
    from current_tallies
    where table_name = 'examples' and tally = 'split'
    group by split
)
select
    s.split,
    s.speakers,
    s.recordings,
    s.utterances,
    s.hours,
    s.mean_seconds,
    q.p5_seconds,
    q.p95_seconds,
    coalesce(c.examples, 0) as examples,
    c.example_hours
from spoken as s
left join quantiles as q on s.split is not distinct from q.split
left join chosen as c on s.split is not distinct from c.split
order by s.split;
