-- The newest signals of the symbols asked about, whatever came of them.
SELECT symbol, bar_time, direction, confidence, outcome, forward_return, void_reason
FROM predictions
WHERE signal AND symbol = ANY (CAST(:symbols AS text[]))
ORDER BY bar_time DESC, confidence DESC, symbol
LIMIT :count
