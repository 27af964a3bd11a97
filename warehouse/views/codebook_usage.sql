-- How evenly each codebook is used: entropy in bits (10 at most), perplexity (1024 at most), codes seen.
-- From what was counted of each shard when it was written; rows are read of shards alone that are older than that.
create view codebook_usage as
with old as (
    select codebook, code, count(*) as n
    from (
        select codebook, unnest(codes) as code
        from (
            unpivot (from uncounted_codes where dropped is null)
            on codebook_1, codebook_2, codebook_3, codebook_4, codebook_5, codebook_6, codebook_7, codebook_8
            into name codebook value codes
        )
    )
    group by all
),
counts as (
    select codebook, code, sum(n) as n
    from (
        select column_name as codebook, value::usmallint as code, times as n from value_sums where table_name = 'codes'
        union all
        from old
    )
    group by all
),
shares as (select codebook, n / sum(n) over (partition by codebook) as share from counts)
select
    codebook,
    -sum(share * log2(share) order by share) as entropy_bits, -- in one order: the same to the last bit each time
    pow(2, -sum(share * log2(share) order by share)) as perplexity,
    count(*) as codes_used
from shares
group by codebook
order by codebook;
