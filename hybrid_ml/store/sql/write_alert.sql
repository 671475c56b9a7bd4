-- An alert and a delivery for each chat; an existing one is not changed.
WITH alert AS (
    INSERT INTO alerts (kind, symbol, bar_time, prediction_id, text, picture, send_after, send_until)
    VALUES (
        :kind, :symbol, :bar_time, :prediction_id, :text, :picture,
        coalesce(CAST(:send_after AS timestamptz), now()), :send_until
    )
    ON CONFLICT (kind, symbol, bar_time) DO NOTHING
    RETURNING id, send_after
),
recipients AS (
    SELECT * FROM unnest(CAST(:chats AS text[]), CAST(:replies AS bigint[])) AS chosen (chat_id, reply_to)
),
delivered AS (
    INSERT INTO deliveries (alert_id, chat_id, reply_to, next_try_at)
    SELECT alert.id, recipients.chat_id, recipients.reply_to, alert.send_after FROM alert CROSS JOIN recipients
)
SELECT id FROM alert
