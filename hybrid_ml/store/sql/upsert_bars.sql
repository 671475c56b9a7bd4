-- Copy staged bars into the table; an existing, unchanged bar is not written again. A source that states only prices
-- and volume keeps what another stated beside them, unless the prices or the volume change.
-- Prices or a volume that change are kept as they were, in bar_revisions.
WITH replaced AS (
    INSERT INTO bar_revisions (symbol, time, open, high, low, close, volume, quote_volume, trades, taker_buy_volume)
    SELECT symbol, time, bars.open, bars.high, bars.low, bars.close, bars.volume,
        bars.quote_volume, bars.trades, bars.taker_buy_volume
    FROM bars JOIN staged_bars USING (symbol, time)
    WHERE (bars.open, bars.high, bars.low, bars.close, bars.volume)
        IS DISTINCT FROM
        (staged_bars.open, staged_bars.high, staged_bars.low, staged_bars.close, staged_bars.volume)
    ON CONFLICT DO NOTHING
)
INSERT INTO bars (symbol, time, open, high, low, close, volume, quote_volume, trades, taker_buy_volume)
SELECT symbol, time, open, high, low, close, volume, quote_volume, trades, taker_buy_volume FROM staged_bars
ON CONFLICT (symbol, time) DO UPDATE
SET open = excluded.open, high = excluded.high, low = excluded.low, close = excluded.close, volume = excluded.volume,
    quote_volume = excluded.quote_volume, trades = excluded.trades, taker_buy_volume = excluded.taker_buy_volume
WHERE (bars.open, bars.high, bars.low, bars.close, bars.volume)
    IS DISTINCT FROM (excluded.open, excluded.high, excluded.low, excluded.close, excluded.volume)
OR num_nonnulls(excluded.quote_volume, excluded.trades, excluded.taker_buy_volume) > 0
    AND (bars.quote_volume, bars.trades, bars.taker_buy_volume)
    IS DISTINCT FROM (excluded.quote_volume, excluded.trades, excluded.taker_buy_volume)
