-- How the newest resolved signals of a symbol turned out by :as_of.
SELECT count(*) AS count,
    coalesce(avg((outcome = direction)::int), 0) AS precision,
    coalesce(avg(confidence), 0) AS mean_confidence
FROM (
    SELECT outcome, direction, confidence
    FROM predictions
    WHERE symbol = :symbol AND signal AND outcome IS NOT NULL AND bar_time < :as_of
    ORDER BY bar_time DESC
    LIMIT :count
) AS newest
