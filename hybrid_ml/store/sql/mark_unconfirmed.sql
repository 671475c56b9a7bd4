-- Passed on without an answer: repeat it once, at once; the second time it is unconfirmed.
UPDATE deliveries
SET state = CASE WHEN unsure >= 1 THEN 'unconfirmed' ELSE 'pending' END,
    settled_at = CASE WHEN unsure >= 1 THEN clock_timestamp() END,
    unsure = unsure + 1, detail = :detail, claim = NULL, lease_until = NULL, next_try_at = clock_timestamp()
WHERE id = :id AND claim = :claim
