-- Claim an update once; no row where it was claimed before.
INSERT INTO bot_updates (update_id, chat_id, command)
VALUES (:update_id, :chat_id, :command)
ON CONFLICT (update_id) DO NOTHING
RETURNING extract(epoch FROM now() - CAST(:sent_at AS timestamptz)) / 60 AS late_minutes
