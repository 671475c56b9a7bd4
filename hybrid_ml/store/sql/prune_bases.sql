-- Old bases lose their bytes and keep their rows. A base that was in use or imported recently is
-- not old: the champion of many weeks that was replaced today is the one for a rollback.
UPDATE model_versions AS base
SET bytes = NULL
WHERE symbol = :symbol
    AND kind IN ('base', 'scratch')
    AND status <> 'champion'
    AND bytes IS NOT NULL
    AND created_at < now() - CAST(:keep AS interval)
    AND NOT EXISTS (
        SELECT FROM model_events
        WHERE version = base.version
            AND event IN ('promoted', 'retired', 'rolled back', 'imported')
            AND at >= now() - CAST(:keep AS interval)
    )
RETURNING version, created_at
