-- Lease the delivery of a chat that is due and expires first.
WITH chosen AS (
    SELECT deliveries.id
    FROM deliveries
    JOIN alerts ON alerts.id = deliveries.alert_id
    LEFT JOIN chats USING (chat_id)
    WHERE deliveries.chat_id = :chat_id
        AND state = 'pending'
        AND next_try_at <= clock_timestamp()
        AND send_until > clock_timestamp()
        AND (chats.retry_at IS NULL OR chats.retry_at <= clock_timestamp())
        AND (chats.paused_until IS NULL OR chats.paused_until <= clock_timestamp())
    ORDER BY send_until, deliveries.id
    LIMIT 1
    FOR UPDATE OF deliveries SKIP LOCKED
)
UPDATE deliveries
SET state = 'sending', claim = :claim, attempts = attempts + 1,
    lease_until = clock_timestamp() + make_interval(secs => :lease_seconds)
FROM chosen, alerts
WHERE deliveries.id = chosen.id AND alerts.id = deliveries.alert_id
RETURNING deliveries.id, reply_to, unsure, text, picture
