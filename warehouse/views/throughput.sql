-- Per stage and device: how much audio an hour of one worker passes.
create view throughput as
select
    table_name,
    device,
    count(*) as shards,
    sum(audio_seconds) / 3600 as audio_hours,
    sum(seconds) / 3600 as worker_hours,
    sum(audio_seconds) / nullif(sum(seconds), 0) as audio_hours_per_hour,
    avg(seconds) as seconds_per_shard,
    max(peak_memory_bytes) as peak_memory_bytes
from runs
where state = 'made'
group by all
order by table_name, device;
