-- How signals since :since turned out, symbol by symbol, and what came of all answers, signals or not.
SELECT symbol,
    count(*) FILTER (WHERE signal AND outcome IS NOT NULL) AS signals,
    count(*) FILTER (WHERE signal AND outcome = direction) AS right,
    count(*) FILTER (WHERE signal AND outcome IS NULL AND void_reason IS NULL) AS waiting,
    count(*) FILTER (WHERE signal AND void_reason IS NOT NULL) AS void,
    avg(CASE direction WHEN 'up' THEN forward_return WHEN 'down' THEN -forward_return ELSE 0 END * 10000)
        FILTER (WHERE signal AND outcome IS NOT NULL) AS mean_return_bps,
    count(outcome) AS answers,
    count(*) FILTER (WHERE outcome = 'down') AS downs,
    count(*) FILTER (WHERE outcome = 'up') AS ups
FROM predictions
WHERE symbol = ANY (CAST(:symbols AS text[])) AND bar_time > :since
GROUP BY symbol
ORDER BY symbol
