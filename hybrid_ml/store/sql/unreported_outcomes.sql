-- Signals that somebody was told of, whose outcome is known, for a while only, and has not been told. Not before
-- every chat's own delivery is settled: who hears of the signal late is to hear of its outcome too.
SELECT predictions.id
FROM alerts AS told
JOIN predictions ON predictions.id = told.prediction_id
WHERE told.kind = 'signal'
    AND predictions.signal
    AND predictions.resolved_at > :since
    AND predictions.resolved_at <= :as_of
    AND NOT EXISTS (SELECT FROM deliveries WHERE alert_id = told.id AND settled_at IS NULL)
    AND NOT EXISTS (
        SELECT FROM alerts AS answer
        WHERE answer.kind = 'outcome' AND answer.symbol = told.symbol AND answer.bar_time = told.bar_time
    )
ORDER BY predictions.id
