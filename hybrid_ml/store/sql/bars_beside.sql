-- The bars of a symbol nearest to a period, outside of it and within a day of it, oldest first.
SELECT time, open, high, low, close, volume FROM (
    (
        SELECT * FROM bars
        WHERE symbol = :symbol AND time < :begin AND time >= CAST(:begin AS timestamptz) - interval '1 day'
        ORDER BY time DESC LIMIT :count
    )
    UNION ALL
    (
        SELECT * FROM bars
        WHERE symbol = :symbol AND time >= :end AND time < CAST(:end AS timestamptz) + interval '1 day'
        ORDER BY time LIMIT :count
    )
) AS found
ORDER BY time
