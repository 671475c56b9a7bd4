-- States of the deliveries of alerts about bars of a period, by kind and chat; a summary belongs to no symbol.
-- Seconds: from when the alert was to be sent until it was sent.
SELECT kind, chat_id, deliveries.state, count(*) AS count,
    count(*) FILTER (WHERE deliveries.state = 'sent' AND seconds > :late_after_seconds) AS late,
    percentile_cont(0.5) WITHIN GROUP (ORDER BY seconds) FILTER (WHERE deliveries.state = 'sent') AS median_seconds,
    max(seconds) FILTER (WHERE deliveries.state = 'sent') AS longest_seconds
FROM alerts
JOIN deliveries ON alert_id = alerts.id
CROSS JOIN LATERAL (SELECT extract(
    epoch FROM settled_at - greatest(alerts.created_at, alerts.send_after)
)::double precision AS seconds) AS took
WHERE alerts.bar_time >= :since AND alerts.bar_time < :until AND (symbol = ANY (:symbols) OR kind = 'summary')
GROUP BY kind, chat_id, deliveries.state
ORDER BY kind, chat_id, deliveries.state
