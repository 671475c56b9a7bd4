INSERT INTO chats (chat_id, retry_at)
VALUES (:chat_id, clock_timestamp() + make_interval(secs => :seconds))
ON CONFLICT (chat_id) DO UPDATE SET retry_at = greatest(chats.retry_at, excluded.retry_at)
