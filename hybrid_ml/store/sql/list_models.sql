-- Every base, and on request the newest adapters; of one symbol or of all.
SELECT symbol, version, kind, parent, as_of, created_at, rows, metrics, status, reason, bytes IS NOT NULL AS bytes_kept
FROM model_versions
WHERE (CAST(:symbol AS text) IS NULL OR symbol = :symbol)
    AND (
        kind IN ('base', 'scratch')
        OR version IN (
            SELECT version
            FROM model_versions
            WHERE kind = 'adapter' AND (CAST(:symbol AS text) IS NULL OR symbol = :symbol)
            ORDER BY created_at DESC, version
            LIMIT :adapters
        )
    )
ORDER BY symbol, created_at DESC, version
