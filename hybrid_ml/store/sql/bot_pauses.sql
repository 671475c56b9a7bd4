-- Paused chats, and until when.
SELECT chat_id, paused_until AS until
FROM chats
WHERE paused_until > now() AND chat_id = ANY (CAST(:chats AS text[]))
