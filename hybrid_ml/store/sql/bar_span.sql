-- First and last bar of a symbol, each by one look-up in the index.
SELECT
    (SELECT time FROM bars WHERE symbol = :symbol ORDER BY time LIMIT 1) AS first,
    (SELECT time FROM bars WHERE symbol = :symbol ORDER BY time DESC LIMIT 1) AS last
