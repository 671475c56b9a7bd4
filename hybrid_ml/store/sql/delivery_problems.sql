SELECT format('chat %s: %s%s', chat_id, state, CASE WHEN detail <> '' THEN ' (' || detail || ')' ELSE '' END)
FROM deliveries
JOIN alerts ON alerts.id = deliveries.alert_id
WHERE kind = :kind AND symbol = :symbol AND bar_time = :bar_time AND state NOT IN ('sent', 'logged', 'paused')
ORDER BY chat_id
