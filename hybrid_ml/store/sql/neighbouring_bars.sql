-- The bars of a symbol around and within a period, oldest first.
SELECT time, open, high, low, close, volume FROM (
    (SELECT * FROM bars WHERE symbol = :symbol AND time < :first ORDER BY time DESC LIMIT :around)
    UNION ALL
    (SELECT * FROM bars WHERE symbol = :symbol AND time BETWEEN :first AND :last ORDER BY time LIMIT :within)
    UNION ALL
    (SELECT * FROM bars WHERE symbol = :symbol AND time > :last ORDER BY time LIMIT :around)
) AS found
ORDER BY time
