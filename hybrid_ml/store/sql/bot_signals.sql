-- The newest signals of some symbols, with any outcome.
SELECT symbol, bar_time, direction, confidence, outcome, forward_return, void_reason, entry_time, entry_return, tradable
FROM predictions
WHERE signal AND symbol = ANY (CAST(:symbols AS text[]))
ORDER BY bar_time DESC, confidence DESC, symbol
LIMIT :count
