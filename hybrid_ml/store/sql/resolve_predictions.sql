-- What became of predictions whose ten minutes are over at :as_of: the close on the grid at
-- bar_time + horizon, which is that of the last bar up to there, provided a later bar shows that no
-- session break lies between them.
UPDATE predictions
SET forward_return = ln(due.close_then / predictions.close),
    outcome = CASE
        WHEN ln(due.close_then / predictions.close) > predictions.threshold THEN 'up'
        WHEN ln(due.close_then / predictions.close) < -predictions.threshold THEN 'down'
        ELSE 'flat'
    END,
    resolved_at = :as_of
FROM (
    SELECT waiting.id, before.close AS close_then
    FROM predictions AS waiting
    CROSS JOIN LATERAL (
        SELECT time, close FROM bars
        WHERE bars.symbol = waiting.symbol
            AND bars.time <= waiting.bar_time + make_interval(mins => :horizon_minutes)
        ORDER BY time DESC LIMIT 1
    ) AS before
    CROSS JOIN LATERAL (
        SELECT time FROM bars
        WHERE bars.symbol = waiting.symbol
            AND bars.time >= waiting.bar_time + make_interval(mins => :horizon_minutes)
            AND bars.time < :as_of
        ORDER BY time LIMIT 1
    ) AS after
    WHERE waiting.symbol = :symbol
        AND waiting.resolved_at IS NULL
        AND waiting.bar_time + make_interval(mins => :horizon_minutes + 1) <= :as_of
        AND after.time - before.time <= make_interval(mins => :max_gap_minutes + 1)
) AS due
WHERE predictions.id = due.id
