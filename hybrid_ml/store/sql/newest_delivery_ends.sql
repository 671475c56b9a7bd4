-- The final state of the newest alert of the last day, for each of some chats.
SELECT DISTINCT ON (chat_id) chat_id, state, detail,
    (
        SELECT count(*) FROM deliveries AS lost
        WHERE lost.chat_id = deliveries.chat_id AND lost.state IN ('expired', 'refused')
            AND lost.settled_at > now() - interval '1 day'
    ) AS lost_within_a_day
FROM deliveries
WHERE chat_id = ANY (:chats) AND state IN ('sent', 'expired', 'refused') AND settled_at > now() - interval '1 day'
ORDER BY chat_id, settled_at DESC, id DESC
