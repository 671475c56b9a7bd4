-- How many trainings from scratch were rejected since the base in use was made, and when the
-- last training from scratch was, rejected or not.
SELECT
    count(*) FILTER (
        WHERE status = 'rejected'
            AND as_of > coalesce(
                (
                    SELECT max(served.as_of) FROM model_versions AS served
                    WHERE served.symbol = :symbol AND served.kind IN ('base', 'scratch')
                        AND served.status IN ('champion', 'retired') AND served.as_of <= :as_of
                ),
                '-infinity'
            )
    ) AS failed_attempts,
    max(as_of) AS newest
FROM model_versions
WHERE symbol = :symbol AND kind = 'scratch' AND as_of <= :as_of
