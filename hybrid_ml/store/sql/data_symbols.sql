-- Where the bars of some symbols are from, since when there can be some, and what was replaced or rejected in a period.
SELECT chosen.symbol, feed, calendar, delisted_at,
    coalesce(
        (SELECT from_time FROM coverage WHERE coverage.symbol = chosen.symbol ORDER BY from_time LIMIT 1),
        (SELECT time FROM bars WHERE bars.symbol = chosen.symbol ORDER BY time LIMIT 1)
    ) AS first,
    (
        SELECT count(*) FROM bar_revisions
        WHERE bar_revisions.symbol = chosen.symbol AND time >= :since AND time < :until
    ) AS revisions,
    (
        SELECT count(*) FROM bars_set_aside
        WHERE bars_set_aside.symbol = chosen.symbol
            AND coalesce(time, loaded_at) >= :since AND coalesce(time, loaded_at) < :until
    ) AS rejected_rows
FROM unnest(CAST(:symbols AS text[])) WITH ORDINALITY AS chosen (symbol, place)
LEFT JOIN instruments USING (symbol)
ORDER BY place
