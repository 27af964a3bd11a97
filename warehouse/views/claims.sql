-- What papers claim, each claim as it was published.
--
-- One row per system, source, table, evaluation set, protocol, task and judge; the same system differs from table to
-- table, and where papers contradict each other, both stand here. `wer` is a fraction. `similarity` is against the
-- prompt as recorded (SIM-o), `similarity_decoded` against the prompt as decoded (SIM-r); of true speech, that of pairs
-- of recordings. Protocols: `vall-e` (3 s of another utterance, or one's own first 3 s), `vall-e-2` (a whole reference
-- utterance, or a prefix of 3 s that is compared whole), `melle`, `librispeech-pc` and `seed-tts` as their papers say.
-- `read_in` says whether the paper itself was read.
create or replace view claims as
with vall_e (system, task, wer, similarity, similarity_decoded, published_table) as (
    values
    ('ground-truth', 'zero-shot', 2.2, 0.754, null, 'table 2'),
    ('GSLM', 'zero-shot', 12.4, null, 0.126, 'table 2'),
    ('AudioLM', 'zero-shot', 6.0, null, null, 'table 2'),
    ('YourTTS', 'zero-shot', 7.7, null, 0.337, 'table 2'),
    ('VALL-E', 'zero-shot', 5.9, null, 0.580, 'table 2'),
    ('VALL-E-continual', 'continuation', 3.8, null, 0.508, 'table 2'),
    ('VALL-E', 'zero-shot', 5.9, null, 0.585, 'table 5'),
    ('VALL-E-no-prompt', 'zero-shot', 5.9, null, 0.236, 'table 5')
),

vall_e_2 (system, prefix_similarity, prefix_wer, similarity, wer) as (
    values
    ('ground-truth', 0.905, 1.6, 0.779, 1.6),
    ('codec-resynthesis', 0.823, 1.7, 0.715, 1.7),
    ('VALL-E', 0.773, 2.3, 0.633, 3.1),  -- trained anew, on Libriheavy
    ('VALL-E 2', 0.782, 1.6, 0.643, 1.5),
    ('VALL-E 2, groups of 2', 0.777, 1.5, 0.635, 1.5),
    ('VALL-E 2, groups of 4', 0.773, 1.8, 0.615, 2.2),
    ('VALL-E 2, groups of 8', 0.766, 2.5, 0.566, 4.2)
),

melle (system, prefix_c, prefix_h, prefix_similarity, c, h, similarity) as (
    values
    ('ground-truth', 1.61, 2.15, 0.668, 1.61, 2.15, 0.779),
    ('codec-resynthesis', 1.65, 2.33, 0.593, 1.65, 2.33, 0.710),
    ('RALL-E', null, null, null, 2.5, 2.8, 0.49),
    ('ELLA-V', 2.10, 2.91, 0.303, 7.15, 8.90, 0.307),
    ('VALL-E R', 1.58, 2.32, 0.363, 3.18, 3.97, 0.365),
    ('CLaM-TTS', null, 2.36, 0.477, null, 5.11, 0.495),
    ('VALL-E', null, 3.8, 0.508, null, 5.9, 0.580),
    ('VALL-E 2', 1.6, 2.32, 0.504, 1.5, 2.44, 0.643),
    ('Voicebox', null, 2.0, 0.593, null, 1.9, 0.662),
    ('MELLE', 1.47, 1.98, 0.508, 1.47, 2.10, 0.625),
    ('MELLE-limited', 1.53, 2.22, 0.480, 2.21, 2.80, 0.591)
),

seed_tts (system, wer, similarity) as (
    values
    ('Seed-TTS', 2.25, 0.762),
    ('F5-TTS', 2.00, 0.670),
    ('MaskGCT', 2.62, 0.717),
    ('CosyVoice2', 3.09, 0.659),
    ('CosyVoice3-0.5B', 2.02, 0.718),
    ('IndexTTS2', 2.23, 0.706),
    ('Qwen3-TTS-1.7B', 1.23, 0.717),
    ('VoxCPM2', 1.84, 0.753)
),

librispeech_pc (system, wer, similarity) as (
    values
    ('ground-truth', 2.23, 0.69),
    ('F5-TTS', 2.42, 0.66),
    ('E2 TTS', 2.95, 0.69)
),

judged (system, task, wer, similarity, published_table, source, wer_judge) as (
    select system, 'zero-shot', wer, similarity, 'table 1', 'arXiv:2406.05370', 'Conformer-Transducer XL' from vall_e_2
    union all
    select system, 'continuation', prefix_wer, prefix_similarity, 'table 1', 'arXiv:2406.05370', 'Conformer-Transducer XL'
    from vall_e_2
    union all
    select system, 'zero-shot', c, similarity, 'table 1', 'arXiv:2407.08551', 'Conformer-Transducer XL' from melle
    union all
    select system, 'zero-shot', h, similarity, 'table 1', 'arXiv:2407.08551', 'HuBERT-Large, CTC' from melle
    union all
    select system, 'continuation', prefix_c, prefix_similarity, 'table 1', 'arXiv:2407.08551', 'Conformer-Transducer XL'
    from melle
    union all
    select system, 'continuation', prefix_h, prefix_similarity, 'table 1', 'arXiv:2407.08551', 'HuBERT-Large, CTC'
    from melle
)

select
    system,
    'arXiv:2301.02111' as source,
    published_table,
    'LibriSpeech test-clean, 4 to 10 s' as evaluation_set,
    'vall-e' as protocol,
    task,
    round(wer / 100, 4) as wer,
    similarity,
    similarity_decoded,
    'HuBERT-Large, CTC' as wer_judge,
    'WavLM-TDNN' as similarity_judge,
    'the paper' as read_in
from vall_e
union all by name
select
    system,
    source,
    published_table,
    'LibriSpeech test-clean, 4 to 10 s' as evaluation_set,
    if(source = 'arXiv:2406.05370', 'vall-e-2', 'melle') as protocol,
    task,
    round(wer / 100, 4) as wer,
    similarity,
    wer_judge,
    'WavLM-TDNN' as similarity_judge,
    'the paper' as read_in
from judged
where wer is not null
union all by name
select
    system,
    'README of VoxCPM' as source,
    'Seed-TTS' as published_table,
    'Seed-TTS test-en' as evaluation_set,
    'seed-tts' as protocol,
    'zero-shot' as task,
    round(wer / 100, 4) as wer,
    similarity,
    'Whisper large-v3' as wer_judge,
    'wavlm_large_finetune' as similarity_judge,
    'a README, of others'' systems, too' as read_in
from seed_tts
union all by name
select
    system,
    'arXiv:2410.06885' as source,
    'LibriSpeech-PC' as published_table,
    'LibriSpeech-PC test-clean' as evaluation_set,
    'librispeech-pc' as protocol,
    'zero-shot' as task,
    round(wer / 100, 4) as wer,
    similarity,
    'a copy of the paper' as read_in
from librispeech_pc
order by protocol, source, published_table, task, wer_judge, wer;
