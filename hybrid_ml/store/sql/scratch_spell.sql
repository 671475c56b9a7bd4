-- Scratch models of a symbol: how often the present spell of poor accuracy was met by training (since
-- its newest answer that was not degraded), and when one was trained last, in this spell or before.
SELECT
    count(*) FILTER (
        WHERE as_of > coalesce(
            (
                SELECT max(healthy.as_of) FROM predictions AS healthy
                WHERE healthy.symbol = :symbol AND NOT healthy.degraded
                    AND healthy.bar_time < :as_of AND healthy.as_of < :as_of
            ),
            '-infinity'
        )
    ) AS trained,
    max(as_of) AS newest
FROM model_versions
WHERE symbol = :symbol AND kind = 'scratch' AND as_of <= :as_of
