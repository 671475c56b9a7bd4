-- Entries of outcomes that were written before there were entries, where the bars are still there. With no traded minute
-- within the horizon, the answer's own bar must have been the last one, with one after the horizon: else nothing is known.
WITH found AS (
    SELECT waiting.id, waiting.close_then, entry.time, entry.open
    FROM predictions AS waiting
    CROSS JOIN LATERAL (SELECT waiting.bar_time + make_interval(mins => :horizon_minutes) AS at) AS ends
    LEFT JOIN LATERAL (
        SELECT time, open FROM bars
        WHERE bars.symbol = waiting.symbol AND bars.time > waiting.bar_time AND bars.time <= ends.at
        ORDER BY time LIMIT 1
    ) AS entry ON true
    WHERE waiting.outcome IS NOT NULL AND waiting.tradable IS NULL AND waiting.close_then IS NOT NULL
        AND (entry.time IS NOT NULL OR EXISTS (
            SELECT FROM bars
            WHERE bars.symbol = waiting.symbol AND bars.time = waiting.bar_time AND bars.close = waiting.close_then
        ) AND EXISTS (SELECT FROM bars WHERE bars.symbol = waiting.symbol AND bars.time > ends.at))
)
UPDATE predictions
SET entry_time = found.time,
    entry_price = found.open,
    entry_return = ln(found.close_then / found.open),
    tradable = found.time IS NOT NULL
FROM found
WHERE predictions.id = found.id AND predictions.outcome IS NOT NULL AND predictions.tradable IS NULL
