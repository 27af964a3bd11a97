-- What a training is to be watched for: the alarms of each validation, and a training that failed, as one that diverged.
create view alarms as
select half, step, alarm, checkpoint_id
from (select half, step, unnest(alarms) as alarm, checkpoint_id from checkpoints)
union all
select shard as half, null as step, error as alarm, null as checkpoint_id
from failures
where table_name = 'checkpoints'
order by half, step nulls last;
