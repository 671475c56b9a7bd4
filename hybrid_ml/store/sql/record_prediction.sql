-- One prediction for each symbol and bar; a second one changes nothing here (see `store/predictions.py`).
INSERT INTO predictions (
    symbol, bar_time, as_of, close, p_down, p_flat, p_up, threshold, direction, confidence,
    model_version, preset, gates, reasons, signal, silenced_by_penalty, recent_rows, recent_accuracy, fell_back
)
VALUES (
    :symbol, :bar_time, :as_of, :close, :p_down, :p_flat, :p_up, :threshold, :direction, :confidence,
    :model_version, :preset, CAST(:gates AS jsonb), CAST(:reasons AS jsonb), :signal, :silenced_by_penalty,
    :recent_rows, :recent_accuracy, :fell_back
)
ON CONFLICT (symbol, bar_time) DO NOTHING
RETURNING id
