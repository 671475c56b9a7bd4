-- The bars of a symbol that open from :since until before :until, what was said of them, and answers after them.
SELECT count(*) AS bars, min(time) AS first, max(time) AS last,
    (
        SELECT count(*) FROM bar_revisions
        WHERE symbol = :symbol AND bar_revisions.time >= :since AND bar_revisions.time < :until
    ) AS revisions,
    (
        SELECT count(*) FROM predictions WHERE symbol = :symbol AND bar_time >= :since AND bar_time < :until
    ) AS predictions
FROM bars
WHERE symbol = :symbol AND time >= :since AND time < :until
