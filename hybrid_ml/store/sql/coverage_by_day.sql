-- Minutes without a bar of some symbols by day, UTC, and by what their feeds said of them.
SELECT symbol, day, state,
    CAST(sum(extract(epoch FROM least(to_time, day + interval '24 hours', :until) - greatest(from_time, day, :since))) / 60
        AS bigint) AS minutes
FROM coverage
CROSS JOIN LATERAL generate_series(
    date_trunc('day', greatest(from_time, CAST(:since AS timestamptz)), 'UTC'),
    least(to_time, CAST(:until AS timestamptz)) - interval '1 second',
    interval '24 hours'
) AS day
WHERE symbol = ANY(CAST(:symbols AS text[])) AND state IN ('no_trades', 'source_gap')
    AND from_time < :until AND to_time > :since
GROUP BY symbol, day, state
