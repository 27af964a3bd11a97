-- How often each system fails in which way, by each judge of words.
--
-- One row per system, judge, protocol, evaluation set and class. `samples` fall under it, of so many that were `judged`.
-- Classes are defined in `tasks/evaluation/failures.py`; a sample may fall under several. True speech stands among the
-- systems: what it is charged with is the judge's own doing.
create or replace view failure_classes as
with judged as (
    select system, judge, protocol, evaluation_set, failures
    from (from scores union all by name from foreign_scores)
    where metric = 'wer' and failures is not null
),

classes (failure) as (values ('empty'), ('endless'), ('repeated'), ('skipped'), ('leaked'))

select
    system,
    judge,
    protocol,
    evaluation_set,
    failure,
    count(*) filter (list_contains(failures, failure)) as samples,
    count(*) as judged,
    avg(list_contains(failures, failure)::integer) as share
from judged as j cross join classes
group by all
order by system, judge, protocol, evaluation_set, failure;
