-- Archive the answer that counted until now among those that do not count.
INSERT INTO answers_not_counted (
    symbol, bar_time, as_of, created_at, close, p_down, p_flat, p_up, threshold, direction, confidence,
    model_version, preset, gates, reasons, signal, silenced_by_penalty, degraded, recent_rows, recent_accuracy, fell_back,
    outcome, forward_return,
    resolved_at, close_then, corrected_close, counted, void_reason, entry_time, entry_price,
    entry_return, tradable, reason
)
SELECT symbol, bar_time, as_of, created_at, close, p_down, p_flat, p_up, threshold, direction, confidence,
    model_version, preset, gates, reasons, signal, silenced_by_penalty, degraded, recent_rows, recent_accuracy, fell_back,
    outcome, forward_return,
    resolved_at, close_then, corrected_close, counted, void_reason, entry_time, entry_price,
    entry_return, tradable, :reason
FROM predictions
WHERE id = :id
ON CONFLICT DO NOTHING
