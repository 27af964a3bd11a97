"""Questions: the longer queries of the report, over the published catalogue.

Each has an order, so that it can be asked again and compared.
"""

HEADLINE = """
select
    (select coalesce(sum(hours), 0) from overview) as "hours kept",
    (select coalesce(sum(utterances), 0)::bigint from overview) as utterances,
    (select coalesce(sum(speakers), 0)::bigint from overview) as speakers,
    (select coalesce(sum(hours_dropped), 0) from funnel) as "hours dropped",
    (select count(*) from failures) as "failed shards",
    (select count(*) from alarms) as alarms,
    (select max(wer) from leaderboard where source = 'this warehouse' and system = 'valle') as "WER of valle"
""".strip()

FUNNEL = """
select
    table_name, rows_in, rows_kept, rows_dropped, rows_pending, rows_failed,
    hours_in, hours_kept, hours_dropped, hours_pending, hours_failed
from funnel
join stages using (table_name)
order by stages.position
""".strip()

REASONS = """
select r.table_name, r.reason, sum(r.num_rows)::bigint as num_rows, sum(r.seconds) / 3600 as hours
from refusals as r
semi join wanted using (table_name, shard, fingerprint)
group by all
order by num_rows desc, table_name, reason
""".strip()

# What was dropped and can be heard: where it lies in which file. Of each table and reason the longest, and two by hash.
# Found by aggregates that keep three rows of a reason, for half of all utterances may be silence.
DROPPED_AUDIO = """
with below as (
    select 'transcripts' as table_name, dropped as reason, detail, utterance_id from transcripts
    union all select 'phones', dropped, detail, utterance_id from phones
    union all select 'codes', dropped, detail, utterance_id from codes
    union all select 'examples', dropped, detail, utterance_id from examples
),
heard as (
    select
        'utterances' as table_name, dropped as reason, detail, utterance_id as id, seconds,
        recording_id, null as audio_path, start_sample, end_sample
    from utterances
    where dropped is not null
    union all
    select b.table_name, reason, b.detail, utterance_id, seconds, recording_id, null, start_sample, end_sample
    from below as b join utterances using (utterance_id)
    where reason is not null
    union all
    select 'recordings', dropped, detail, recording_id, seconds, recording_id, null, 0, null
    from recordings
    where dropped is not null
    union all
    select
        'scores', c.dropped, any_value(c.detail), sample_id, any_value(s.seconds),
        null, any_value(s.audio_path), 0, null
    from scores as c join samples as s using (sample_id)
    where c.dropped is not null
    group by c.dropped, sample_id
    union all
    select 'samples', dropped, detail, sample_id, seconds, null, audio_path, 0, null
    from samples
    where dropped is not null and audio_path is not null
),
few as (
    select
        table_name, reason,
        max_by(heard, {'seconds': coalesce(seconds, 0), 'id': id}, 1) as longest,
        min_by(heard, md5(id), 3) as drawn
    from heard
    group by table_name, reason
),
chosen as (
    select unnest(list_concat(longest, list_filter(drawn, lambda one: one.id <> longest[1].id))[:3], max_depth := 2)
    from few
)
select
    c.table_name, c.reason, c.detail, c.id, c.seconds, r.audio_path as recording, c.audio_path as sample,
    c.start_sample, c.end_sample
from chosen as c
left join recordings as r using (recording_id)
order by c.table_name, c.reason, c.seconds desc nulls last, c.id
""".strip()

LENGTHS = """
select split, (half - 1) / 2 as from_seconds, sum(n)::bigint as utterances
from (
    select "of" ->> 'split' as split, unnest(half_seconds) as n, generate_subscripts(half_seconds, 1) as half
    from tallies
    semi join wanted using (table_name, shard, fingerprint)
    where table_name = 'utterances' and tally = 'speaker_id, split'
)
where n > 0
group by all
order by split, from_seconds
""".strip()


def histogram(table: str, column: str, bins: int = 20) -> str:
    """How often a column of a table's kept rows has which value, in bins of one width."""
    return f"""
with x as (select {column}::double as x from {table} where dropped is null and isfinite({column})),
bounds as (select min(x) as low, greatest((max(x) - min(x)) / {bins}, 1e-6) as width from x),
placed as (select least({bins - 1}, floor((x - low) / width)) as bin, low, width from x cross join bounds)
select low + bin * width as low, low + (bin + 1) * width as high, count(*) as n
from placed
group by all
order by 1
""".strip()


CONFIDENCE = histogram("transcripts", "avg_logprob")
PACE = histogram("transcripts", "chars_per_second")
LOUDNESS = histogram("recordings", "loudness_db")

LOSSES = """
select step, train_loss, valid_loss, valid_loss_shuffled, valid_perplexity, valid_top10, is_best, tokens_seen
from checkpoints
where half = '{half}' and dropped is null
order by step
""".strip()

LOSSES_BY_CODEBOOK = """
select codebook, valid_loss, valid_top10, half, step
from (
    select
        generate_subscripts(valid_loss_by_codebook, 1) as codebook, unnest(valid_loss_by_codebook) as valid_loss,
        unnest(valid_top10_by_codebook) as valid_top10, half, step
    from checkpoints
    where is_best and dropped is null
)
where valid_loss is not null
order by codebook, half, step
""".strip()

# A system has a row for each pair of judges, and its figure by one of them is the same in all of these.
LEADERBOARD = """
from (
    select distinct
        system, source, {metric}, {metric}_low, {metric}_high, num_samples, num_utterances, {judge} as judge
    from leaderboard
    where {metric} is not null
)
order by source = 'this warehouse' desc, {metric} {order}, system, source, judge
""".strip()

_COMPARED = """
with current as (
    select * from ratings where version in (select fingerprint from wanted where table_name = 'samples')
),
compared as (
    select system_a as system, system_b as against, test_id, preferred from current
    union all
    select system_b, system_a, test_id, case preferred when 'a' then 'b' when 'b' then 'a' end from current
),
shared as (
    select system, against, test_id, case preferred when 'a' then 1.0 when 'b' then 0.0 else 0.5 end as won
    from compared
)
""".strip()

# Bounds by Wilson (1927), as if all answers were independent.
PREFERENCES = f"""
{_COMPARED},
counted as (
    select system, avg(won) as share, count(*) as answers, count(distinct test_id) as sittings from shared group by all
)
select
    system, 'this warehouse' as source, share,
    greatest(0, (share + 1.9208 / answers - 1.96 * sqrt(share * (1 - share) / answers + 0.9604 / answers ** 2))
        / (1 + 3.8416 / answers)) as share_low,
    least(1, (share + 1.9208 / answers + 1.96 * sqrt(share * (1 - share) / answers + 0.9604 / answers ** 2))
        / (1 + 3.8416 / answers)) as share_high,
    answers, sittings
from counted
order by share desc, system
""".strip()

PAIRS = f"""
{_COMPARED}
select system, against, avg(won) as share, count(*) as answers
from shared
group by all
order by share desc, system, against
""".strip()

# The sentences that most systems have said, and one sample by each.
SAMPLES = """
with chosen as (
    select utterance_id
    from samples
    where dropped is null
    group by utterance_id
    order by count(distinct system) desc, max(seconds) > 12, md5(utterance_id)
    limit 3
),
judged as (
    select
        sample_id,
        max(value) filter (metric = 'wer') as wer,
        max(value) filter (metric = 'speaker_similarity') as similarity
    from scores
    where dropped is null
    group by sample_id
)
select s.utterance_id, s.system, s.sample_id, s.text, s.seconds, j.wer, j.similarity, s.audio_path
from samples as s
semi join chosen using (utterance_id)
left join judged as j using (sample_id)
where s.dropped is null
qualify row_number() over (partition by s.utterance_id, s.system order by s.seed, s.sample_id) = 1
order by s.utterance_id, array_position(['ground-truth', 'codec-resynthesis', 'valle-continual', 'valle'], s.system),
    s.system
""".strip()

THROUGHPUT = """
select
    table_name, device, shards, audio_hours, worker_hours, audio_hours_per_hour, seconds_per_shard,
    peak_memory_bytes / 1e9 as peak_gb
from throughput
left join stages using (table_name)
order by stages.position, table_name, device
""".strip()

READS = """
select distinct s.position, a.table_name, split_part(unnest(json_keys(a.inputs)), '/', 1) as reads
from stages as s
join wanted as w using (table_name)
join artifacts as a on (a.table_name, a.shard, a.fingerprint) = (w.table_name, w.shard, w.fingerprint)
where w.state = 'made'
order by s.position, reads
""".strip()

LINEAGE = """
select
    s.table_name, s.fingerprint,
    count(*) filter (w.state = 'made') as made, count(*) filter (w.state <> 'made') as missing,
    sum(a.num_rows)::bigint as num_rows, sum(a.bytes) / 1e6 as megabytes,
    left(md5(string_agg(a.digest, ' ' order by a.shard)), 12) as digest_of_rows,
    strftime(max(a.made_at), '%Y-%m-%d %H:%M') as last_made,
    (any_value(a.stage ->> '$.version'))::integer as stage_version,
    (any_value(a.stage -> '$.settings'))::varchar as settings
from stages as s
left join wanted as w using (table_name)
left join artifacts as a on (a.table_name, a.shard, a.fingerprint) = (w.table_name, w.shard, w.fingerprint)
group by s.position, s.table_name, s.fingerprint
order by s.position
""".strip()
