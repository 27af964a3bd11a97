-- One row for each dataset that was ever chosen: its filter, and a digest of all that it was chosen from.
-- A version is the fingerprint of `examples`. Equal `digest` means equal rows: of the choice itself and of every
-- shard it was read from (utterances, transcripts, phones, codes), wherever and whenever they were made.
create view dataset_versions as
with kept as (
    select
        a.*,
        a.num_rows - a.num_dropped as rows_kept,
        a.seconds - coalesce(r.seconds, 0) as seconds_kept,
        a.shard || ' ' || a.digest || ' ' || (a.inputs -> '$.*')::varchar as contents  -- the digests, without paths
    from artifacts as a
    left join (
        select table_name, shard, fingerprint, sum(seconds) as seconds from refusals group by all
    ) as r using (table_name, shard, fingerprint)
    left join wanted as w using (table_name, shard, fingerprint)
    where a.table_name = 'examples'
      -- of the version that is current, only what the last run still asks for
      and (w.state = 'made' or a.fingerprint not in (select fingerprint from stages where table_name = 'examples'))
)
select
    fingerprint,
    fingerprint in (select fingerprint from stages where table_name = 'examples') as current,
    any_value(stage -> 'settings' -> 'where') as filter,
    count(*) as shards,
    sum(num_rows)::bigint as rows_considered,
    sum(rows_kept)::bigint as rows_kept,
    sum(seconds_kept) / 3600 as hours_kept,
    left(sha256(string_agg(contents, chr(10) order by shard)), 16) as digest,
    max(made_at) as made_at
from kept
group by fingerprint
order by made_at desc, fingerprint;
