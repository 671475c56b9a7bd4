-- Deliveries whose time has come. A lease ended: its sender may have sent the message, so it is
-- repeated once, while fresh, and the second time it becomes unconfirmed. No longer fresh: expired, or
-- unconfirmed where it may have arrived. The chat is paused: paused.
WITH overdue AS (
    SELECT deliveries.id, deliveries.unsure + (deliveries.state = 'sending')::int AS unsure,
        alerts.send_until <= clock_timestamp() AS late,
        coalesce(chats.paused_until > clock_timestamp(), false) AS paused,
        deliveries.state = 'sending' AS lapsed
    FROM deliveries
    JOIN alerts ON alerts.id = deliveries.alert_id
    LEFT JOIN chats USING (chat_id)
    WHERE deliveries.chat_id <> ''
        AND (deliveries.state = 'sending' AND deliveries.lease_until <= clock_timestamp()
            OR deliveries.state = 'pending'
                AND (alerts.send_until <= clock_timestamp()
                    OR chats.paused_until > clock_timestamp() AND deliveries.next_try_at <= clock_timestamp()))
    FOR UPDATE OF deliveries SKIP LOCKED
),
judged AS (
    SELECT *, CASE
        WHEN unsure >= 2 OR unsure = 1 AND (late OR paused) THEN 'unconfirmed'
        WHEN late THEN 'expired'
        WHEN paused THEN 'paused'
        ELSE 'pending'
    END AS verdict
    FROM overdue
)
UPDATE deliveries
SET state = judged.verdict, unsure = judged.unsure, claim = NULL, lease_until = NULL,
    next_try_at = clock_timestamp(),
    settled_at = CASE WHEN judged.verdict <> 'pending' THEN clock_timestamp() END,
    detail = CASE
        WHEN judged.lapsed THEN 'the sender stopped before it could record the answer of Telegram'
        WHEN judged.verdict = 'expired' THEN concat_ws('; ', 'not sent while it was fresh', nullif(detail, ''))
        WHEN judged.verdict = 'paused' THEN 'the chat is paused'
        ELSE detail
    END
FROM judged
WHERE deliveries.id = judged.id
RETURNING deliveries.state
