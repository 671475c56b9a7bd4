-- The chats that got a signal, or may have got it. Rows older than chats have none and are replied to in the log.
SELECT chat_id, message_id
FROM deliveries
JOIN alerts ON alerts.id = deliveries.alert_id
WHERE prediction_id = :prediction_id AND kind = 'signal' AND (state IN ('sent', 'unconfirmed') AND chat_id <> '' OR state = 'logged')
ORDER BY chat_id
