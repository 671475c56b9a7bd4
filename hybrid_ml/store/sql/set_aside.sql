-- Rows of a file that could not be used; the file read again replaces what was said before.
INSERT INTO bars_set_aside (symbol, source, row_number, reason, raw)
VALUES (:symbol, :source, :row_number, :reason, :raw)
ON CONFLICT (symbol, source, row_number) DO UPDATE
SET reason = excluded.reason, raw = excluded.raw, loaded_at = now()
