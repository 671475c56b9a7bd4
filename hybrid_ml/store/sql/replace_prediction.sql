-- Replace the answer that counts for a bar; its outcome is not known yet.
UPDATE predictions
SET as_of = :as_of, close = :close, p_down = :p_down, p_flat = :p_flat, p_up = :p_up,
    threshold = :threshold, direction = :direction, confidence = :confidence,
    model_version = :model_version, preset = :preset, gates = CAST(:gates AS jsonb),
    reasons = CAST(:reasons AS jsonb), signal = :signal,
    silenced_by_penalty = :silenced_by_penalty, degraded = DEFAULT,
    recent_rows = :recent_rows, recent_accuracy = :recent_accuracy, fell_back = :fell_back,
    outcome = NULL, forward_return = NULL, resolved_at = NULL, void_reason = NULL, close_then = NULL,
    corrected_close = NULL, counted = NULL, entry_time = NULL, entry_price = NULL, entry_return = NULL,
    tradable = NULL
WHERE id = :id
