-- What each judge finds of each system: every metric of `scores`, with its interval.
--
-- One row per system, protocol, evaluation set, metric and judge. `estimate` of words is pooled: wrong words over words;
-- of all else it is the mean. Low and high bound a 95 % confidence interval, by the bootstrap over speakers (Efron and
-- Tibshirani 1993, chapter 13: percentiles of 1,000 replicates, drawn by md5, so that they are the same each time); null
-- where one speaker was judged alone. What a speaker has said, by whatever seed, is no independent witness, so speakers
-- are drawn whole. Of fewer than some ten, intervals are too narrow. Rows of `ground-truth` are the judges' own scale:
-- what each makes of the same true speech, which no model can change. Systems that `valle score` was given are among them.
create or replace view estimates as
with measured as not materialized (
    select
        system,
        protocol,
        evaluation_set,
        metric,
        judge,
        regexp_replace(sample_id, '/[^/]*$', '') as spoken,  -- the sample without its seed
        coalesce(speaker_id, spoken) as speaker,
        count(*) as num_samples,
        sum(coalesce(errors, value)) as amount,
        sum(coalesce(words, 1)) as weight
    from (from scores union all by name from foreign_scores)
    where dropped is null
    group by all
),

speakers_heard as not materialized (  -- so a filter on metrics goes below
    select
        system,
        protocol,
        evaluation_set,
        metric,
        judge,
        sum(num_samples) as num_samples,
        count(*) as num_utterances,
        sum(amount) as amount,
        sum(weight) as weight,
        hash(system, protocol, evaluation_set, metric, judge) as one,
        row_number() over (partition by system, protocol, evaluation_set, metric, judge order by speaker) - 1 as place,
        count(*) over (partition by system, protocol, evaluation_set, metric, judge) as num_speakers
    from measured
    group by system, protocol, evaluation_set, metric, judge, speaker
),

pooled as (
    select
        one,
        system,
        protocol,
        evaluation_set,
        metric,
        judge,
        num_speakers,
        sum(amount) / sum(weight) as estimate,
        sum(num_samples) as num_samples,
        sum(num_utterances) as num_utterances
    from speakers_heard
    group by all
),

draws as materialized (
    select replicate, place, md5_number_lower(replicate || ' ' || place) as drawn
    from
        range(1000) as r (replicate),
        unnest(range((select coalesce(max(num_speakers), 0) from speakers_heard))) as p (place)
),

drawn_often as materialized (
    select n.num_speakers, d.replicate, d.drawn % n.num_speakers::ubigint as place, count(*) as times
    from (select distinct num_speakers from speakers_heard where num_speakers > 1) as n
    join draws as d on d.place < n.num_speakers
    group by all
),

resampled as (
    select s.metric, s.one, d.replicate, sum(d.times * s.amount) / sum(d.times * s.weight) as ratio
    from speakers_heard as s
    join drawn_often as d on d.num_speakers = s.num_speakers and d.place = s.place
    group by all
),

bounds as (
    select metric, one, quantile_cont(ratio, 0.025) as low, quantile_cont(ratio, 0.975) as high
    from resampled
    where isfinite(ratio)
    group by all
)

select
    system,
    protocol,
    evaluation_set,
    metric,
    judge,
    estimate,
    low,
    high,
    num_samples::bigint as num_samples,
    num_utterances::bigint as num_utterances,
    num_speakers::bigint as num_speakers
from pooled
left join bounds using (metric, one)
where isfinite(estimate)
order by all;
