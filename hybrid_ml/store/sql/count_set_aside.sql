-- Rows of files that could not be used, by reason.
SELECT reason, count(*) AS rows
FROM bars_set_aside
WHERE symbol = :symbol
GROUP BY reason
ORDER BY count(*) DESC, reason
