-- Signals that somebody was told of, whose outcome is known and has not been told.
SELECT predictions.id
FROM alerts AS told
JOIN predictions ON predictions.id = told.prediction_id
WHERE told.kind = 'signal'
    AND told.bar_time > :since
    AND predictions.signal
    AND predictions.resolved_at <= :as_of
    AND NOT EXISTS (
        SELECT FROM alerts AS answer
        WHERE answer.kind = 'outcome' AND answer.symbol = told.symbol AND answer.bar_time = told.bar_time
    )
ORDER BY predictions.id
