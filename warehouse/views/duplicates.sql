-- Kept recordings that sound exactly alike, to the last sample, one row for each sound. Doubles within a shard are
-- dropped where `recordings` is made; a shard cannot know of another, so those across shards are told here. It reads the
-- rows of `recordings`, one for each file of the corpus, and no other table.
create view duplicates as
select
    audio_digest,
    count(*) as recordings,
    count(distinct speaker_id) as speakers,
    list(recording_id order by recording_id) as recording_ids,
    (count(*) - 1) * any_value(seconds) / 3600 as hours_too_many
from recordings
where dropped is null and audio_digest is not null
group by audio_digest
having count(*) > 1
order by hours_too_many desc, audio_digest;
