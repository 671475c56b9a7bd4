-- The bar of the oldest of the newest :count signals of a symbol that have an outcome, until :until.
SELECT min(bar_time)
FROM (
    SELECT bar_time FROM predictions
    WHERE symbol = :symbol AND signal AND outcome IS NOT NULL AND bar_time <= :until
    ORDER BY bar_time DESC
    LIMIT :count
) AS newest
