-- Outcomes of all predictions whose ten minutes are over at :as_of. The price then is the close on
-- the grid at bar_time + horizon: that of the last bar up to there, provided a later bar shows that the
-- session continued. Where it broke off there can be no outcome: void, with the reason. The same where the symbol has a
-- calendar by which the session is over by then; sessions that touch are one. When the missing
-- bars are loaded later, a void prediction gets its outcome. Where the bar of a prediction
-- has been corrected since, the corrected close counts: the stated one was never the price.
WITH due AS (
    SELECT waiting.id, waiting.close AS stated_close, waiting.threshold, waiting.void_reason AS void_before,
        coalesce(at_end.close, before.close) AS close_then,
        coalesce(stated.close, waiting.close) AS close_now,
        nullif(stated.close, waiting.close) AS corrected_close,
        entry.time AS entry_time, entry.open AS entry_price,
        CASE
            WHEN stated_session.closes_at <= ends.at
                THEN format('the session ended at %s UTC, within the ten minutes',
                    to_char(stated_session.closes_at AT TIME ZONE 'UTC', 'YYYY-MM-DD HH24:MI'))
            WHEN after.time >= stated_session.closes_at
                THEN format('no bar between %s and the end of the session at %s UTC',
                    to_char(before.time AT TIME ZONE 'UTC', 'YYYY-MM-DD HH24:MI'),
                    to_char(stated_session.closes_at AT TIME ZONE 'UTC', 'YYYY-MM-DD HH24:MI'))
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
    LEFT JOIN LATERAL (
        SELECT coalesce(next.closes_at, opened.closes_at) AS closes_at
        FROM (
            SELECT sessions.* FROM sessions JOIN instruments ON instruments.calendar = sessions.calendar
            WHERE instruments.symbol = waiting.symbol AND sessions.opens_at <= waiting.bar_time
                AND sessions.opens_at < sessions.closes_at
            ORDER BY sessions.opens_at DESC LIMIT 1
        ) AS opened
        LEFT JOIN sessions AS next ON next.calendar = opened.calendar AND next.opens_at = opened.closes_at
            AND next.opens_at < next.closes_at
        WHERE opened.closes_at > waiting.bar_time
    ) AS stated_session ON true
    LEFT JOIN bars AS stated ON stated.symbol = waiting.symbol AND stated.time = waiting.bar_time
    -- Nearly always there is a bar at the very end; its neighbours are looked up only where there is none.
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
    -- The first traded minute after the bar: the next price at which the answer could have been followed.
    LEFT JOIN LATERAL (
        SELECT time, open FROM bars
        WHERE bars.symbol = waiting.symbol AND bars.time > waiting.bar_time AND bars.time <= ends.at
        ORDER BY time LIMIT 1
    ) AS entry ON true
    WHERE waiting.outcome IS NULL
        AND waiting.bar_time <= CAST(:as_of AS timestamptz) - make_interval(mins => :horizon_minutes + 1)
        AND (at_end.time IS NOT NULL OR stated_session.closes_at <= ends.at OR before.time IS NOT NULL AND after.time IS NOT NULL)
),
resolved AS (
    SELECT *, CASE WHEN void_reason IS NULL THEN ln(close_then / close_now) END AS forward_return
    FROM due
    WHERE void_before IS NULL OR void_reason IS DISTINCT FROM void_before
)
UPDATE predictions
SET void_reason = resolved.void_reason,
    close_then = resolved.close_then,
    corrected_close = resolved.corrected_close,
    counted = CASE
        WHEN resolved.void_reason IS NULL THEN CASE WHEN resolved.corrected_close IS NULL THEN 'stated' ELSE 'corrected' END
    END,
    forward_return = resolved.forward_return,
    entry_time = CASE WHEN resolved.void_reason IS NULL THEN resolved.entry_time END,
    entry_price = CASE WHEN resolved.void_reason IS NULL THEN resolved.entry_price END,
    entry_return = CASE WHEN resolved.void_reason IS NULL THEN ln(resolved.close_then / resolved.entry_price) END,
    tradable = CASE WHEN resolved.void_reason IS NULL THEN resolved.entry_time IS NOT NULL END,
    outcome = CASE
        WHEN resolved.forward_return > resolved.threshold THEN 'up'
        WHEN resolved.forward_return < -resolved.threshold THEN 'down'
        WHEN resolved.forward_return IS NOT NULL THEN 'flat'
    END,
    resolved_at = :as_of
FROM resolved
WHERE predictions.id = resolved.id
    -- Another answer may have replaced the row while this statement waited for it.
    AND predictions.outcome IS NULL
    AND predictions.close = resolved.stated_close
    AND predictions.threshold = resolved.threshold
