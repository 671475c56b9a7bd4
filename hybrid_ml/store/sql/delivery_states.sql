SELECT state, count(*)
FROM deliveries
JOIN alerts ON alerts.id = deliveries.alert_id
WHERE kind = :kind AND symbol = :symbol AND bar_time = :bar_time
GROUP BY state
ORDER BY state
