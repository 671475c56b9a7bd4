-- The number of bars of some symbols by day, UTC, of those inside the sessions of their calendar; only bars of the period
-- are read. Before its first session a calendar states nothing.
SELECT symbol, date_trunc('day', time, 'UTC') AS day, count(*) AS bars
FROM bars LEFT JOIN instruments USING (symbol)
WHERE symbol = ANY(CAST(:symbols AS text[])) AND time >= :since AND time < :until
    AND (
        calendar IS NULL
        OR calendar NOT IN (SELECT sessions.calendar FROM sessions)
        OR coalesce(
            (
                SELECT closes_at > time FROM sessions
                WHERE sessions.calendar = instruments.calendar AND opens_at <= time
                ORDER BY opens_at DESC LIMIT 1
            ),
            true
        )
    )
GROUP BY symbol, day
