-- Refused after it may have arrived once: it stays unconfirmed.
UPDATE deliveries
SET state = CASE WHEN :state = 'refused' AND unsure > 0 THEN 'unconfirmed' ELSE :state END, detail = :detail, message_id = :message_id, claim = NULL, lease_until = NULL,
    settled_at = clock_timestamp()
WHERE id = :id AND claim = :claim
