-- Pause a chat, counted from when the command was sent, so that a delayed command does not pause for longer.
-- A clock ahead of the database's counts as now.
INSERT INTO chats (chat_id, paused_until)
VALUES (
    :chat_id,
    least(CAST(:sent_at AS timestamptz), now()) + make_interval(mins => CAST(:minutes AS integer))
)
ON CONFLICT (chat_id) DO UPDATE SET paused_until = excluded.paused_until
