-- Outcomes of the newest signals of a symbol, known by :as_of. Answers silenced only by the penalty
-- count like signals, so that the penalty can detect a recovery.
SELECT count(*) AS count,
    coalesce(avg((outcome = direction)::int), 0) AS precision,
    coalesce(avg(confidence), 0) AS mean_confidence
FROM (
    SELECT outcome, direction, confidence
    FROM predictions
    WHERE symbol = :symbol
        AND (signal OR silenced_by_penalty)
        AND outcome IS NOT NULL
        AND bar_time <= CAST(:as_of AS timestamptz) - make_interval(mins => :horizon_minutes + 1)
    ORDER BY bar_time DESC
    LIMIT :count
) AS newest
