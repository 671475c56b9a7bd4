-- Every symbol with bars, by index look-ups instead of reading the whole table.
WITH RECURSIVE found AS (
    (SELECT symbol FROM bars ORDER BY symbol LIMIT 1)
    UNION ALL
    SELECT (SELECT bars.symbol FROM bars WHERE bars.symbol > found.symbol ORDER BY bars.symbol LIMIT 1)
    FROM found
    WHERE found.symbol IS NOT NULL
)
SELECT symbol FROM found WHERE symbol IS NOT NULL
