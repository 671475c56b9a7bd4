-- Keep an answer about a bar that has one already; an identical answer is kept once.
INSERT INTO answers_not_counted (
    symbol, bar_time, as_of, close, p_down, p_flat, p_up, threshold, direction, confidence,
    model_version, preset, gates, reasons, signal, silenced_by_penalty, recent_rows, recent_accuracy, fell_back, reason
)
VALUES (
    :symbol, :bar_time, :as_of, :close, :p_down, :p_flat, :p_up, :threshold, :direction, :confidence,
    :model_version, :preset, CAST(:gates AS jsonb), CAST(:reasons AS jsonb), :signal, :silenced_by_penalty,
    :recent_rows, :recent_accuracy, :fell_back, :reason
)
ON CONFLICT DO NOTHING
