-- Signals of some symbols with an outcome, from :since to :until, oldest first.
SELECT symbol, bar_time, direction, confidence, outcome, forward_return, void_reason, entry_time, entry_return, tradable
FROM predictions
WHERE signal AND outcome IS NOT NULL AND symbol = ANY (CAST(:symbols AS text[]))
    AND bar_time >= :since AND bar_time <= :until
ORDER BY bar_time
