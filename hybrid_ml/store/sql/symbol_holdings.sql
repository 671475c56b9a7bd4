-- What the database holds of a symbol, each by an index that begins with it, except alerts.
SELECT
    (SELECT feed FROM instruments WHERE symbol = :symbol) AS feed,
    (SELECT count(*) FROM bars WHERE symbol = :symbol) AS bars,
    (SELECT time FROM bars WHERE symbol = :symbol ORDER BY time LIMIT 1) AS first,
    (SELECT time FROM bars WHERE symbol = :symbol ORDER BY time DESC LIMIT 1) AS last,
    (
        SELECT CAST(coalesce(sum(extract(epoch FROM to_time - from_time)), 0) / 60 AS bigint)
        FROM coverage WHERE symbol = :symbol
    ) AS covered_minutes,
    (SELECT count(*) FROM bar_revisions WHERE symbol = :symbol) AS revisions,
    (SELECT count(*) FROM bars_set_aside WHERE symbol = :symbol) AS rejected_rows,
    (SELECT count(*) FROM model_versions WHERE symbol = :symbol AND kind IN ('base', 'scratch')) AS models,
    (SELECT count(*) FROM predictions WHERE symbol = :symbol) AS predictions,
    (SELECT count(*) FROM alerts WHERE symbol = :symbol) AS alerts
