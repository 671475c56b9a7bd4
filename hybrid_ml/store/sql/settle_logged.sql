-- Alerts for the log, since no chat is configured; also those no longer fresh, since a log is kept.
WITH waiting AS (
    SELECT id FROM deliveries WHERE chat_id = '' AND state = 'pending' FOR UPDATE SKIP LOCKED
),
done AS (
    UPDATE deliveries SET state = 'logged', attempts = attempts + 1, settled_at = clock_timestamp()
    FROM waiting
    WHERE deliveries.id = waiting.id
    RETURNING alert_id
)
SELECT text FROM alerts JOIN done ON done.alert_id = alerts.id ORDER BY alerts.id
