-- Word error rate and speaker similarity of each system, beside what papers claim by the same protocol (`claims`).
--
-- One row per system, protocol, evaluation set and pair of judges. `wer` is a fraction, pooled: wrong words over words.
-- `similarity` is the mean cosine with the prompt as recorded, `similarity_decoded` with the prompt decoded from its
-- codes. Low and high bound a 95 % confidence interval, by the bootstrap over speakers (Efron and Tibshirani 1993,
-- chapter 13: percentiles of 1,000 replicates, drawn by md5, so that they are the same each time); null where one
-- speaker was judged alone. What a speaker has said, by whatever seed, is no independent witness, so speakers are drawn
-- whole. Of fewer than some ten, intervals are too narrow. Numbers of different judges are not comparable; nor are the
-- papers' with ours, unless judges agree. Systems that `valle score` was given stand among ours.
create or replace view leaderboard as
with measured as (
    select
        system,
        protocol,
        evaluation_set,
        metric,
        judge,
        regexp_replace(sample_id, '/[^/]*$', '') as spoken,  -- the sample without its seed
        coalesce(speaker_id, spoken) as speaker,
        count(*) as num_samples,
        sum(if(metric = 'wer', errors, value)) as amount,
        sum(if(metric = 'wer', words, 1)) as weight
    from (from scores union all by name from foreign_scores)
    where dropped is null and metric in ('wer', 'speaker_similarity', 'speaker_similarity_decoded')
    group by all
),

speakers_heard as (
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
        dense_rank() over (order by system, protocol, evaluation_set, metric, judge) as one,
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
    select s.one, d.replicate, sum(d.times * s.amount) / sum(d.times * s.weight) as ratio
    from speakers_heard as s
    join drawn_often as d on d.num_speakers = s.num_speakers and d.place = s.place
    group by all
),

bounds as (
    select one, quantile_cont(ratio, 0.025) as low, quantile_cont(ratio, 0.975) as high
    from resampled
    where isfinite(ratio)
    group by all
),

estimates as (select * from pooled left join bounds using (one) where isfinite(estimate)),

heard as (select * from estimates where metric = 'wer'),
recorded as (select * from estimates where metric = 'speaker_similarity'),
decoded as (select * from estimates where metric = 'speaker_similarity_decoded'),
voices as (
    select
        coalesce(recorded.system, decoded.system) as system,
        coalesce(recorded.protocol, decoded.protocol) as protocol,
        coalesce(recorded.evaluation_set, decoded.evaluation_set) as evaluation_set,
        coalesce(recorded.judge, decoded.judge) as judge,
        coalesce(recorded.num_samples, decoded.num_samples) as num_samples,
        coalesce(recorded.num_utterances, decoded.num_utterances) as num_utterances,
        coalesce(recorded.num_speakers, decoded.num_speakers) as num_speakers,
        recorded.estimate as similarity,
        recorded.low as similarity_low,
        recorded.high as similarity_high,
        decoded.estimate as similarity_decoded,
        decoded.low as similarity_decoded_low,
        decoded.high as similarity_decoded_high
    from recorded full join decoded
        on recorded.system = decoded.system and recorded.judge = decoded.judge
        and recorded.protocol is not distinct from decoded.protocol
        and recorded.evaluation_set is not distinct from decoded.evaluation_set
),

ours as (
    select
        'this warehouse' as source,
        coalesce(heard.system, voices.system) as system,
        coalesce(heard.num_samples, voices.num_samples)::bigint as num_samples,
        coalesce(heard.num_utterances, voices.num_utterances)::bigint as num_utterances,
        heard.estimate as wer,
        heard.low as wer_low,
        heard.high as wer_high,
        similarity,
        similarity_low,
        similarity_high,
        similarity_decoded,
        similarity_decoded_low,
        similarity_decoded_high,
        heard.judge as wer_judge,
        voices.judge as similarity_judge,
        coalesce(heard.num_speakers, voices.num_speakers)::bigint as num_speakers,
        coalesce(heard.protocol, voices.protocol) as protocol,
        coalesce(heard.evaluation_set, voices.evaluation_set) as evaluation_set
    from heard full join voices
        on heard.system = voices.system
        and heard.protocol is not distinct from voices.protocol
        and heard.evaluation_set is not distinct from voices.evaluation_set
),

-- Claims stand beside ours of the same protocol; where nothing has been scored, all of them do.
reported as (
    select
        concat_ws(', ', source, published_table) as source,
        system,
        wer,
        similarity,
        similarity_decoded,
        wer_judge,
        similarity_judge,
        protocol,
        evaluation_set
    from claims
    where protocol in (select protocol from ours) or not exists (from ours where protocol is not null)
)

from ours
union all by name
from reported
order by source = 'this warehouse' desc, source, wer, system;
