-- What is told to the log, since there is no chat; what is no longer fresh is told as well, for a log keeps.
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
