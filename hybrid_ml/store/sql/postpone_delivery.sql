-- Postpone: until when Telegram states, else by 1, 2, 4, 8, 16, 30, 30 ... seconds.
UPDATE deliveries
SET state = 'pending', detail = :detail, claim = NULL, lease_until = NULL,
    next_try_at = clock_timestamp()
        + make_interval(secs => coalesce(CAST(:seconds AS double precision), least(30, 2 ^ least(attempts - 1, 10))))
WHERE id = :id AND claim = :claim
