-- Every base of a symbol, oldest first, for the timeline of progressive scaling.
SELECT version, kind, as_of, week, row_limit, rows, trained_until, metrics, status, reason
FROM model_versions
WHERE symbol = :symbol AND kind IN ('base', 'scratch')
ORDER BY as_of, created_at
