-- The newest bar and the newest answer of each of some symbols, each by one look-up in an index.
SELECT chosen.symbol, newest.time AS newest_bar,
    last.bar_time, last.direction, last.confidence, last.signal, last.recent_rows, last.recent_accuracy, last.gates
FROM unnest(CAST(:symbols AS text[])) WITH ORDINALITY AS chosen (symbol, place)
LEFT JOIN LATERAL (
    SELECT time FROM bars WHERE bars.symbol = chosen.symbol ORDER BY time DESC LIMIT 1
) AS newest ON true
LEFT JOIN LATERAL (
    SELECT bar_time, direction, confidence, signal, recent_rows, recent_accuracy, gates
    FROM predictions
    WHERE predictions.symbol = chosen.symbol
    ORDER BY bar_time DESC LIMIT 1
) AS last ON true
ORDER BY chosen.place
