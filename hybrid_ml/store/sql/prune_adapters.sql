-- Old adapters: those that answered lose their bytes and keep their rows, the others are deleted. The
-- newest trial to the champion is kept at any age: it decides which model is in use (newest_adapter.sql).
-- A row without bytes is not read again, so only the index on rows with bytes is read, and
-- of the ledger only rows after the adapter was made: usually its own answer is the first.
WITH old AS (
    SELECT version, EXISTS (
        SELECT FROM predictions
        WHERE predictions.symbol = adapter.symbol
            AND bar_time >= adapter.as_of - interval '1 day'
            AND model_version = adapter.version
    ) AS answered
    FROM model_versions AS adapter
    WHERE symbol = :symbol
        AND kind = 'adapter'
        AND bytes IS NOT NULL
        AND created_at < now() - CAST(:keep AS interval)
        AND version IS DISTINCT FROM (
            SELECT trial.version
            FROM model_versions AS champion
            JOIN model_versions AS trial ON trial.parent = champion.version
            WHERE champion.symbol = :symbol AND champion.status = 'champion' AND trial.bytes IS NOT NULL
            ORDER BY trial.data_until DESC, trial.as_of DESC, trial.created_at DESC
            LIMIT 1
        )
),
emptied AS (
    UPDATE model_versions AS adapter SET bytes = NULL
    FROM old WHERE adapter.version = old.version AND old.answered
    RETURNING adapter.parent
),
gone AS (
    DELETE FROM model_versions AS adapter
    USING old WHERE adapter.version = old.version AND NOT old.answered
    RETURNING adapter.parent
)
SELECT parent, count(*) FILTER (WHERE kept) AS emptied, count(*) FILTER (WHERE NOT kept) AS deleted
FROM (SELECT parent, true AS kept FROM emptied UNION ALL SELECT parent, false FROM gone) AS pruned
GROUP BY parent
ORDER BY parent
