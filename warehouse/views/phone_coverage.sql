-- How often each phone is heard, and in how many utterances: from what was counted of each shard when it was written.
-- Rows are read of shards alone that are older than such counts.
create view phone_coverage as
select phone, sum(occurrences)::bigint as occurrences, sum(utterances)::bigint as utterances
from (
    select value as phone, times as occurrences, num_rows as utterances
    from value_sums
    where table_name = 'phones'
    union all
    select phone, count(*) as occurrences, count(distinct utterance_id) as utterances
    from (select utterance_id, unnest(phones) as phone from uncounted_phones where dropped is null)
    group by phone
)
group by phone
order by occurrences desc, phone;
