-- Chats with something to send, and the seconds until the first delivery may be tried or its lease ends.
SELECT deliveries.chat_id,
    greatest(0, extract(epoch FROM min(greatest(
        CASE state WHEN 'sending' THEN lease_until ELSE next_try_at END, chats.retry_at
    )) - clock_timestamp()))
FROM deliveries
LEFT JOIN chats USING (chat_id)
WHERE state IN ('pending', 'sending') AND deliveries.chat_id <> ''
GROUP BY deliveries.chat_id
