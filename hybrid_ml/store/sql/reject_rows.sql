-- Rejected rows of a file; reading the file again replaces the earlier reasons.
INSERT INTO bars_set_aside (symbol, source, row_number, reason, raw, time)
SELECT DISTINCT ON (symbol, source, md5(raw)) symbol, source, row_number, reason, raw, time
FROM staged_rows
ORDER BY symbol, source, md5(raw), row_number DESC
ON CONFLICT (symbol, source, md5(raw)) DO UPDATE
SET row_number = excluded.row_number, reason = excluded.reason, time = excluded.time, loaded_at = now()
