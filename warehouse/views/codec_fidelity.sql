-- Per shard of codes: what the checked utterances have kept, and how many of their codes a CPU gives in fp32 as well.
-- Codes that a CPU has made in fp32 are what others are held to, so their agreement is 1 and is not measured.
create view codec_fidelity as
with last_made as (
    select table_name, shard, fingerprint, device
    from runs
    where state = 'made'
    qualify row_number() over (partition by table_name, shard, fingerprint order by ended_at desc) = 1
)
select
    shard,
    device,
    stage ->> '$.settings.precision' as "precision",
    (means ->> '$.si_sdr_db.rows')::bigint as num_checked,
    (means ->> '$.si_sdr_db.mean')::double as si_sdr_db,
    (means ->> '$.fp32_agreement.rows')::bigint as num_compared,
    if(
        device = 'cpu' and stage ->> '$.settings.precision' = 'fp32',
        1,
        (means ->> '$.fp32_agreement.mean')::double
    ) as fp32_agreement
from tallies
semi join wanted using (table_name, shard, fingerprint)
join artifacts using (table_name, shard, fingerprint)
left join last_made using (table_name, shard, fingerprint)
where table_name = 'codes' and tallies.tally = 'all'
order by fp32_agreement, shard;
