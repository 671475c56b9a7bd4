-- Recorded answers of a symbol from :since until before :until: how many, in the fullest day (UTC) after the first,
-- the confidences of those that every gate other than confidence let pass; and the bound that a pace chose for the answer before :bar_time.
WITH record AS (
    SELECT bar_time, confidence, jsonb_path_exists(
        gates, '$[*] ? (@.passed == false && @.gate != "confidence" && @.gate != "max_signals")'
    ) AS refused
    FROM predictions
    WHERE symbol = :symbol AND bar_time >= :since AND bar_time < :until
)
SELECT ARRAY(SELECT confidence FROM record WHERE NOT refused) AS confidences,
    (SELECT count(*) FROM record) AS answers,
    coalesce((
        SELECT max(answers) FROM (
            SELECT count(*) AS answers FROM record
            GROUP BY date_trunc('day', bar_time AT TIME ZONE 'UTC')
            ORDER BY date_trunc('day', bar_time AT TIME ZONE 'UTC') OFFSET 1
        ) AS days
    ), 0) AS most_in_a_day,
    (
        SELECT CAST(jsonb_path_query_first(gates, '$[*] ? (@.gate == "confidence").paced') #>> '{}' AS double precision)
        FROM predictions
        WHERE symbol = :symbol AND bar_time < :bar_time
        ORDER BY bar_time DESC LIMIT 1
    ) AS previous
