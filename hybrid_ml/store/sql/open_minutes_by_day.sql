-- Minutes in which the markets of calendars are open by day, UTC. A calendar with sessions of other days only has one row,
-- without a day: its markets are closed in this period.
SELECT calendars.calendar, open_day AS day,
    CAST(sum(extract(epoch FROM least(closes_at, open_day + interval '24 hours') - greatest(opens_at, open_day))) / 60
        AS bigint) AS minutes
FROM (SELECT DISTINCT calendar FROM sessions) AS calendars
LEFT JOIN sessions ON sessions.calendar = calendars.calendar AND opens_at < :until AND closes_at > :since
LEFT JOIN LATERAL generate_series(
    date_trunc('day', opens_at, 'UTC'), closes_at - interval '1 second', interval '24 hours'
) AS open_day ON true
GROUP BY calendars.calendar, open_day
