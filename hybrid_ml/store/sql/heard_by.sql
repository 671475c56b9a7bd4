-- Who was told of a signal, or may have been.
SELECT chat_id, message_id
FROM deliveries
JOIN alerts ON alerts.id = deliveries.alert_id
WHERE prediction_id = :prediction_id AND kind = 'signal' AND state IN ('sent', 'unconfirmed', 'logged')
ORDER BY chat_id
