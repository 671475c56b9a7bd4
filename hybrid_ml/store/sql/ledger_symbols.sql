-- Every symbol with answers, by index look-ups instead of reading the whole table.
WITH RECURSIVE found AS (
    (SELECT symbol FROM predictions ORDER BY symbol LIMIT 1)
    UNION ALL
    SELECT (SELECT predictions.symbol FROM predictions WHERE predictions.symbol > found.symbol ORDER BY predictions.symbol LIMIT 1)
    FROM found
    WHERE found.symbol IS NOT NULL
)
SELECT symbol FROM found WHERE symbol IS NOT NULL
