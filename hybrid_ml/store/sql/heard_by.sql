-- Who was told of a signal, or may have been. Rows from before chats were kept name none that could be told more.
SELECT chat_id, message_id
FROM deliveries
JOIN alerts ON alerts.id = deliveries.alert_id
WHERE prediction_id = :prediction_id AND kind = 'signal' AND (state IN ('sent', 'unconfirmed') AND chat_id <> '' OR state = 'logged')
ORDER BY chat_id
