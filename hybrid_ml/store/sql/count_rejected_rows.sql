-- Rejected rows, by reason.
SELECT reason, count(*) AS rows
FROM bars_set_aside
WHERE symbol = :symbol
GROUP BY reason
ORDER BY count(*) DESC, reason
