-- Open deliveries, and those that ended within a day, by state.
SELECT state, count(*)
FROM deliveries
WHERE settled_at IS NULL OR settled_at > now() - interval '1 day'
GROUP BY state
