-- Record where a symbol's bars are from; one that has bars of another feed is left as it is, and no row is returned.
-- A calendar that is there stays: a person may have chosen it.
INSERT INTO instruments AS known (symbol, feed, feed_symbol, calendar, listed_at, delisted_at)
VALUES (:symbol, :feed, :feed_symbol, :calendar, :listed_at, :delisted_at)
ON CONFLICT (symbol) DO UPDATE
SET feed = excluded.feed, feed_symbol = excluded.feed_symbol,
    listed_at = excluded.listed_at, delisted_at = excluded.delisted_at
WHERE known.feed IS NULL OR (known.feed, known.feed_symbol) = (excluded.feed, excluded.feed_symbol)
RETURNING calendar
