-- Staged bars into the table; a bar that is there already and unchanged is not written again.
INSERT INTO bars (symbol, time, open, high, low, close, volume)
SELECT symbol, time, open, high, low, close, volume FROM staged_bars
ON CONFLICT (symbol, time) DO UPDATE
SET open = excluded.open, high = excluded.high, low = excluded.low, close = excluded.close, volume = excluded.volume
WHERE (bars.open, bars.high, bars.low, bars.close, bars.volume)
    IS DISTINCT FROM (excluded.open, excluded.high, excluded.low, excluded.close, excluded.volume)
