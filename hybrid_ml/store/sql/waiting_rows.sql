-- Rows of a period that were rejected for a reason that later rows can remove, the newest of each time.
SELECT DISTINCT ON (time) time, raw
FROM bars_set_aside
WHERE symbol = :symbol AND reason = ANY(:reasons) AND time BETWEEN :first AND :last
ORDER BY time, loaded_at DESC
LIMIT :most
