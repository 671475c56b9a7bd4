UPDATE deliveries
SET state = :state, detail = :detail, message_id = :message_id, claim = NULL, lease_until = NULL,
    settled_at = clock_timestamp()
WHERE id = :id AND claim = :claim
