-- The corpus at a glance, per split: who speaks, how much, how long an utterance is.
create view overview as
select
    u.split,
    count(distinct u.speaker_id) as speakers,
    count(distinct u.recording_id) as recordings,
    count(*) as utterances,
    sum(u.seconds) / 3600 as hours,
    avg(u.seconds) as mean_seconds,
    quantile_cont(u.seconds, 0.05) as p5_seconds,
    quantile_cont(u.seconds, 0.95) as p95_seconds,
    count(e.utterance_id) filter (e.dropped is null) as examples,
    sum(u.seconds) filter (e.dropped is null and e.utterance_id is not null) / 3600 as example_hours
from utterances as u
left join examples as e using (utterance_id)
where u.dropped is null
group by u.split
order by u.split;
