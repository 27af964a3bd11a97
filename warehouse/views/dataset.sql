-- One row for each kept example: what a model trains on. It reads the rows of five tables, all of them.
create view dataset as
select
    e.utterance_id,
    u.recording_id,
    u.speaker_id,
    e.split,
    u.seconds,
    t.text,
    len(p.phones) as num_phones,
    c.num_frames
from examples as e
join utterances as u using (utterance_id)
join transcripts as t using (utterance_id)
join phones as p using (utterance_id)
join codes as c using (utterance_id)
where e.dropped is null;
