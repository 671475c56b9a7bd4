-- Every symbol with bars or a feed. First and last bar by index look-ups; the number of bars from the coverage, which is
-- small, and only where a feed has answered: counting bars would read them all.
WITH RECURSIVE found AS (
    (SELECT symbol FROM bars ORDER BY symbol LIMIT 1)
    UNION ALL
    SELECT (SELECT bars.symbol FROM bars WHERE bars.symbol > found.symbol ORDER BY bars.symbol LIMIT 1)
    FROM found
    WHERE found.symbol IS NOT NULL
),
covered AS (
    SELECT symbol, CAST(sum(extract(epoch FROM to_time - from_time)) / 60 AS bigint) AS bars
    FROM coverage WHERE state = 'have' GROUP BY symbol
)
SELECT chosen.symbol, feed, feed_symbol, calendar, first.time AS first, last.time AS last, covered.bars,
    listed_at, delisted_at,
    EXISTS (SELECT FROM model_versions WHERE model_versions.symbol = chosen.symbol AND status = 'champion') AS champion
FROM (SELECT symbol FROM found WHERE symbol IS NOT NULL UNION SELECT symbol FROM instruments) AS chosen
LEFT JOIN instruments USING (symbol)
LEFT JOIN covered USING (symbol)
LEFT JOIN LATERAL (SELECT time FROM bars WHERE bars.symbol = chosen.symbol ORDER BY time LIMIT 1) AS first ON true
LEFT JOIN LATERAL (SELECT time FROM bars WHERE bars.symbol = chosen.symbol ORDER BY time DESC LIMIT 1) AS last ON true
ORDER BY chosen.symbol
