-- Signals after :since and until :until without an outcome, by symbol, and outcomes of all answers, signals or not.
SELECT symbol,
    count(*) FILTER (WHERE signal AND outcome IS NULL AND void_reason IS NULL) AS waiting,
    count(*) FILTER (WHERE signal AND void_reason IS NOT NULL) AS void,
    count(outcome) AS answers,
    count(*) FILTER (WHERE outcome = 'down') AS downs,
    count(*) FILTER (WHERE outcome = 'up') AS ups,
    count(DISTINCT date_trunc('day', bar_time, 'UTC')) FILTER (WHERE outcome IS NOT NULL) AS days
FROM predictions
WHERE symbol = ANY (CAST(:symbols AS text[])) AND bar_time >= :since AND bar_time <= :until
GROUP BY symbol
ORDER BY symbol
