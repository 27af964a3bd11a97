-- The funnel for people: one row per stage, hours with reasons in words.
create view funnel_at_a_glance as
select
    table_name as "table",
    rows_in,
    rows_kept,
    round(hours_kept, 3) as hours_kept,
    rows_dropped,
    round(hours_dropped, 3) as hours_dropped,
    array_to_string(
        list_transform(
            json_keys(dropped_by_reason),
            lambda reason: reason || ' ' || (dropped_by_reason ->> reason)
                || coalesce(' (' || round((hours_dropped_by_reason ->> reason)::double, 3) || ' h)', '')
        ),
        ', '
    ) as dropped_for,
    rows_pending,
    rows_failed
from funnel;
