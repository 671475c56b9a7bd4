-- Chats that asked for silence, and until when; NULL: until /resume.
SELECT chat_id, CASE WHEN isfinite(paused_until) THEN paused_until END AS until
FROM chats
WHERE paused_until > now() AND chat_id = ANY (CAST(:chats AS text[]))
