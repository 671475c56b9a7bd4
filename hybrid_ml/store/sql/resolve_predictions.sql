-- What became of every prediction whose ten minutes are over at :as_of. The price then is the close on
-- the grid at bar_time + horizon: that of the last bar up to there, provided a later bar shows that the
-- session went on. Where it broke off there can be no outcome: void, with the reason. Should the missing
-- bars be loaded later, a void prediction gets its outcome after all. Where the bar a prediction was made
-- on has been corrected since, the corrected close counts: what was stated was never the price.
WITH due AS (
    SELECT waiting.id, waiting.close AS stated_close, waiting.threshold, waiting.void_reason AS void_before,
        coalesce(at_end.close, before.close) AS close_then,
        coalesce(stated.close, waiting.close) AS close_now,
        nullif(stated.close, waiting.close) AS corrected_close,
        CASE
            WHEN after.time - before.time > make_interval(mins => :max_gap_minutes + 1)
                THEN format('no bar between %s and %s UTC: the session broke',
                    to_char(before.time AT TIME ZONE 'UTC', 'YYYY-MM-DD HH24:MI'),
                    to_char(after.time AT TIME ZONE 'UTC', 'YYYY-MM-DD HH24:MI'))
            -- A break before the end of the horizon: only where shorter gaps than that end a session.
            WHEN :max_gap_minutes < :horizon_minutes AND (
                SELECT max(step) FROM (
                    SELECT time - lag(time) OVER (ORDER BY time) AS step FROM bars
                    WHERE bars.symbol = waiting.symbol AND bars.time BETWEEN waiting.bar_time AND ends.at
                ) AS steps
            ) > make_interval(mins => :max_gap_minutes + 1)
                THEN 'too many minutes without a bar: the session broke'
        END AS void_reason
    FROM predictions AS waiting
    CROSS JOIN LATERAL (SELECT waiting.bar_time + make_interval(mins => :horizon_minutes) AS at) AS ends
    LEFT JOIN bars AS stated ON stated.symbol = waiting.symbol AND stated.time = waiting.bar_time
    -- Nearly always there is a bar at the very end; only where there is none are its neighbours looked up.
    LEFT JOIN bars AS at_end ON at_end.symbol = waiting.symbol AND at_end.time = ends.at
    LEFT JOIN LATERAL (
        SELECT time, close FROM bars
        WHERE at_end.time IS NULL AND bars.symbol = waiting.symbol AND bars.time BETWEEN waiting.bar_time AND ends.at
        ORDER BY time DESC LIMIT 1
    ) AS before ON true
    LEFT JOIN LATERAL (
        SELECT time FROM bars
        WHERE at_end.time IS NULL AND bars.symbol = waiting.symbol AND bars.time > ends.at AND bars.time < :as_of
        ORDER BY time LIMIT 1
    ) AS after ON true
    WHERE waiting.outcome IS NULL
        AND waiting.bar_time <= CAST(:as_of AS timestamptz) - make_interval(mins => :horizon_minutes + 1)
        AND (at_end.time IS NOT NULL OR before.time IS NOT NULL AND after.time IS NOT NULL)
),
told AS (
    SELECT *, CASE WHEN void_reason IS NULL THEN ln(close_then / close_now) END AS forward_return
    FROM due
    WHERE void_before IS NULL OR void_reason IS DISTINCT FROM void_before
)
UPDATE predictions
SET void_reason = told.void_reason,
    close_then = told.close_then,
    corrected_close = told.corrected_close,
    counted = CASE
        WHEN told.void_reason IS NULL THEN CASE WHEN told.corrected_close IS NULL THEN 'stated' ELSE 'corrected' END
    END,
    forward_return = told.forward_return,
    outcome = CASE
        WHEN told.forward_return > told.threshold THEN 'up'
        WHEN told.forward_return < -told.threshold THEN 'down'
        WHEN told.forward_return IS NOT NULL THEN 'flat'
    END,
    resolved_at = :as_of
FROM told
WHERE predictions.id = told.id
    -- Another answer may have taken the row while this statement waited for it.
    AND predictions.outcome IS NULL
    AND predictions.close = told.stated_close
    AND predictions.threshold = told.threshold
