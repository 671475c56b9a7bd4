-- One prediction a symbol and bar. A run done again changes nothing, unless it found a signal
-- (with looser gates, say) where there was none: the row is then that of the run that alerts.
INSERT INTO predictions (
    symbol, bar_time, as_of, close, p_down, p_flat, p_up, threshold, direction, confidence,
    model_version, preset, gates, signal, silenced_by_penalty, degraded, fell_back
)
VALUES (
    :symbol, :bar_time, :as_of, :close, :p_down, :p_flat, :p_up, :threshold, :direction, :confidence,
    :model_version, :preset, CAST(:gates AS jsonb), :signal, :silenced_by_penalty, :degraded, :fell_back
)
ON CONFLICT (symbol, bar_time) DO UPDATE
SET as_of = excluded.as_of, close = excluded.close,
    p_down = excluded.p_down, p_flat = excluded.p_flat, p_up = excluded.p_up,
    threshold = excluded.threshold, direction = excluded.direction, confidence = excluded.confidence,
    model_version = excluded.model_version, preset = excluded.preset, gates = excluded.gates,
    signal = excluded.signal, silenced_by_penalty = excluded.silenced_by_penalty,
    degraded = excluded.degraded, fell_back = excluded.fell_back,
    outcome = NULL, forward_return = NULL, resolved_at = NULL
WHERE NOT predictions.signal AND excluded.signal
