-- One prediction a symbol and bar; who comes second changes nothing here (see `store/predictions.py`).
INSERT INTO predictions (
    symbol, bar_time, as_of, close, p_down, p_flat, p_up, threshold, direction, confidence,
    model_version, preset, gates, signal, silenced_by_penalty, degraded, fell_back
)
VALUES (
    :symbol, :bar_time, :as_of, :close, :p_down, :p_flat, :p_up, :threshold, :direction, :confidence,
    :model_version, :preset, CAST(:gates AS jsonb), :signal, :silenced_by_penalty, :degraded, :fell_back
)
ON CONFLICT (symbol, bar_time) DO NOTHING
RETURNING id
