-- Of each symbol asked about: its newest bar and its newest answer, each one look-up along a key.
SELECT asked.symbol, newest.time AS newest_bar,
    last.bar_time, last.direction, last.confidence, last.signal, last.degraded, last.gates
FROM unnest(CAST(:symbols AS text[])) WITH ORDINALITY AS asked (symbol, place)
LEFT JOIN LATERAL (
    SELECT time FROM bars WHERE bars.symbol = asked.symbol ORDER BY time DESC LIMIT 1
) AS newest ON true
LEFT JOIN LATERAL (
    SELECT bar_time, direction, confidence, signal, degraded, gates
    FROM predictions
    WHERE predictions.symbol = asked.symbol
    ORDER BY bar_time DESC LIMIT 1
) AS last ON true
ORDER BY asked.place
