-- Those of :symbols that trade most, by their newest day of bars before :until, which must not be older than a week.
SELECT found.symbol
FROM unnest(CAST(:symbols AS text[])) AS found (symbol)
CROSS JOIN LATERAL (
    SELECT count(*) AS bars, max(time) AS newest, sum(day.volume * day.close) AS turnover
    FROM (
        SELECT time, close, volume FROM bars
        WHERE bars.symbol = found.symbol AND time <= :until
        ORDER BY time DESC
        LIMIT 1440
    ) AS day
) AS newest_day
WHERE newest > CAST(:until AS timestamptz) - interval '7 days'
    AND bars >= 300
ORDER BY turnover DESC, bars DESC, found.symbol
LIMIT :count
