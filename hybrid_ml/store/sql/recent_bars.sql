-- The newest bars of a symbol that opened at or before :until, newest first; with the index this
-- is as fast on five million bars as on ten thousand.
SELECT time, open, high, low, close, volume
FROM bars
WHERE symbol = %(symbol)s AND time <= %(until)s
ORDER BY time DESC
LIMIT %(count)s
