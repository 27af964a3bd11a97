-- Word error rate and speaker similarity of each system, beside what papers claim by the same protocol (`claims`).
--
-- One row per system, protocol, evaluation set and pair of judges; `estimates` says how they are pooled, what the bounds
-- are, and has the other metrics. `similarity` is the mean cosine with the prompt as recorded, `similarity_decoded` with
-- the prompt decoded from its codes. Numbers of different judges are not comparable; nor are the papers' with ours, unless
-- judges agree.
create or replace view leaderboard as
with heard as (from estimates where metric = 'wer'),
recorded as (from estimates where metric = 'speaker_similarity'),
decoded as (from estimates where metric = 'speaker_similarity_decoded'),
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
        coalesce(heard.num_samples, voices.num_samples) as num_samples,
        coalesce(heard.num_utterances, voices.num_utterances) as num_utterances,
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
        coalesce(heard.num_speakers, voices.num_speakers) as num_speakers,
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
