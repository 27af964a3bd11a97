-- How often each phone is heard, and in how many utterances.
create view phone_coverage as
select phone, count(*) as occurrences, count(distinct utterance_id) as utterances
from (select utterance_id, unnest(phones) as phone from phones where dropped is null)
group by phone
order by occurrences desc, phone;
