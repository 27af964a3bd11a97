-- Word error rate and speaker similarity of each system, beside what the papers report.
--
-- One row per system and pair of judges. `wer` is a fraction, pooled: wrong words over words. `similarity` is the
-- mean cosine with the prompt as recorded, `similarity_decoded` with the prompt decoded from its codes. Low and
-- high bound a 95 % confidence interval (normal, of a ratio of sums); null where one utterance was judged alone.
-- The samples of one utterance (its seeds) are no independent witnesses, so they are summed before any variance
-- is taken. Numbers of different judges are not comparable; nor are the papers' with ours, unless judges agree.
create or replace view leaderboard as
with measured as (
    select
        system,
        metric,
        judge,
        regexp_replace(sample_id, '/[^/]*$', '') as spoken,  -- the sample without its seed
        count(*) as num_samples,
        sum(if(metric = 'wer', errors, value)) as amount,
        sum(if(metric = 'wer', words, 1)) as weight
    from scores
    where dropped is null
    group by all
),

ratios as (
    select *, sum(amount) over same / sum(weight) over same as ratio
    from measured
    window same as (partition by system, metric, judge)
),

estimates as (
    select
        system,
        metric,
        judge,
        any_value(ratio) as estimate,
        -- the variance of a ratio of sums, to the first order (Cochran 1977, section 2.11)
        1.96 * sqrt(count(*) / nullif(count(*) - 1, 0) * sum((amount - ratio * weight) ** 2)) / sum(weight) as margin,
        sum(num_samples) as num_samples,
        count(*) as num_utterances
    from ratios
    where isfinite(ratio)
    group by all
),

heard as (select * from estimates where metric = 'wer'),
recorded as (select * from estimates where metric = 'speaker_similarity'),
decoded as (select * from estimates where metric = 'speaker_similarity_decoded'),
voices as (
    select
        coalesce(recorded.system, decoded.system) as system,
        coalesce(recorded.judge, decoded.judge) as judge,
        coalesce(recorded.num_samples, decoded.num_samples) as num_samples,
        coalesce(recorded.num_utterances, decoded.num_utterances) as num_utterances,
        recorded.estimate as similarity,
        recorded.estimate - recorded.margin as similarity_low,
        recorded.estimate + recorded.margin as similarity_high,
        decoded.estimate as similarity_decoded,
        decoded.estimate - decoded.margin as similarity_decoded_low,
        decoded.estimate + decoded.margin as similarity_decoded_high
    from recorded full join decoded on recorded.system = decoded.system and recorded.judge = decoded.judge
),

ours as (
    select
        'this warehouse' as source,
        coalesce(heard.system, voices.system) as system,
        coalesce(heard.num_samples, voices.num_samples)::bigint as num_samples,
        coalesce(heard.num_utterances, voices.num_utterances)::bigint as num_utterances,
        heard.estimate as wer,
        if(heard.margin > heard.estimate, 0, heard.estimate - heard.margin) as wer_low,
        heard.estimate + heard.margin as wer_high,
        similarity,
        similarity_low,
        similarity_high,
        similarity_decoded,
        similarity_decoded_low,
        similarity_decoded_high,
        heard.judge as wer_judge,
        voices.judge as similarity_judge
    from heard full join voices on heard.system = voices.system
),

-- VALL-E is compared with the prompt as decoded, VALL-E 2 with the prompt as recorded; the similarity of true
-- speech is that of pairs of recordings. VALL-E 2 is one sample, group size 1, prompted by another utterance.
reported (source, system, wer, similarity, similarity_decoded, wer_judge, similarity_judge) as (
    values
    ('arXiv:2301.02111, table 2', 'ground-truth', 0.022, 0.754, null, 'HuBERT-Large, CTC', 'WavLM-TDNN'),
    ('arXiv:2301.02111, table 2', 'YourTTS', 0.077, null, 0.337, 'HuBERT-Large, CTC', 'WavLM-TDNN'),
    ('arXiv:2301.02111, table 2', 'VALL-E', 0.059, null, 0.580, 'HuBERT-Large, CTC', 'WavLM-TDNN'),
    ('arXiv:2301.02111, table 2', 'VALL-E-continual', 0.038, null, 0.508, 'HuBERT-Large, CTC', 'WavLM-TDNN'),
    ('arXiv:2406.05370, table 1', 'VALL-E 2', 0.015, 0.643, null, 'Conformer-Transducer XL', 'WavLM-TDNN')
)

from ours
union all by name
from reported
order by source = 'this warehouse' desc, source, wer;
