-- Hours, utterances and books of each speaker, kept utterances only.
create view speakers as
select
    u.speaker_id,
    any_value(u.split) as split,
    sum(u.seconds) / 3600 as hours,
    count(*) as utterances,
    count(distinct r.book_id) as books
from utterances as u
join recordings as r using (recording_id)
where u.dropped is null
group by u.speaker_id
order by hours desc, u.speaker_id;
