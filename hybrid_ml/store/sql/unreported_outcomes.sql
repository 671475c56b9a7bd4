-- Signals that were sent and whose outcome is known, since :since, but not reported. Not before
-- every delivery of the signal has a final state: a chat that gets the signal late gets its outcome too.
SELECT predictions.id
FROM alerts AS signals
JOIN predictions ON predictions.id = signals.prediction_id
WHERE signals.kind = 'signal'
    AND predictions.signal
    AND predictions.resolved_at > :since
    AND predictions.resolved_at <= :as_of
    AND NOT EXISTS (SELECT FROM deliveries WHERE alert_id = signals.id AND settled_at IS NULL)
    AND NOT EXISTS (
        SELECT FROM alerts AS answer
        WHERE answer.kind = 'outcome' AND answer.symbol = signals.symbol AND answer.bar_time = signals.bar_time
    )
ORDER BY predictions.id
