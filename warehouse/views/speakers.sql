-- Hours, utterances and books of each speaker: kept utterances, and the books of kept recordings.
create view speakers as
with current_tallies as (
    select tallies.* from tallies semi join wanted using (table_name, shard, fingerprint)
),
spoken as (
    select
        "of" ->> 'speaker_id' as speaker_id,
        any_value("of" ->> 'split') as split,
        coalesce(sum(seconds), 0) / 3600 as hours,
        sum(num_rows)::bigint as utterances
    from current_tallies
    where table_name = 'utterances' and tally = 'speaker_id, split'
    group by 1
),
read_out as (
    select "of" ->> 'speaker_id' as speaker_id, count(distinct "of" ->> 'book_id') as books
    from current_tallies
    where table_name = 'recordings' and tally = 'speaker_id, book_id'
    group by 1
)
select s.speaker_id, s.split, s.hours, s.utterances, coalesce(r.books, 0) as books
from spoken as s
left join read_out as r on s.speaker_id is not distinct from r.speaker_id
order by s.hours desc, s.speaker_id;
