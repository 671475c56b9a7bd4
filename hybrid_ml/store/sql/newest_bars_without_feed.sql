-- The newest bar of every symbol that no feed brings new bars of, by index look-ups instead of reading the whole table.
WITH RECURSIVE found AS (
    (SELECT symbol FROM bars ORDER BY symbol LIMIT 1)
    UNION ALL
    SELECT (SELECT bars.symbol FROM bars WHERE bars.symbol > found.symbol ORDER BY bars.symbol LIMIT 1)
    FROM found
    WHERE found.symbol IS NOT NULL
)
SELECT found.symbol, newest.time
FROM found
CROSS JOIN LATERAL (SELECT time FROM bars WHERE bars.symbol = found.symbol ORDER BY time DESC LIMIT 1) AS newest
WHERE NOT EXISTS (SELECT FROM instruments WHERE instruments.symbol = found.symbol AND feed IS NOT NULL AND delisted_at IS NULL)
