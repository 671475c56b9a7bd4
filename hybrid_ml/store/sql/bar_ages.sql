-- Of each of some symbols: its first and its newest bar, and whether it had one in the same minutes a week ago,
-- which distinguishes a feed that stopped from a market that is closed.
SELECT chosen.symbol, newest.time AS newest_bar, first.time AS first_bar,
    EXISTS (
        SELECT FROM bars
        WHERE bars.symbol = chosen.symbol
            AND bars.time BETWEEN CAST(:now AS timestamptz) - interval '7 days' - CAST(:age AS interval)
                AND CAST(:now AS timestamptz) - interval '7 days'
    ) AS had_bars_a_week_ago
FROM unnest(CAST(:symbols AS text[])) AS chosen (symbol)
LEFT JOIN LATERAL (SELECT time FROM bars WHERE bars.symbol = chosen.symbol ORDER BY time DESC LIMIT 1) AS newest ON true
LEFT JOIN LATERAL (SELECT time FROM bars WHERE bars.symbol = chosen.symbol ORDER BY time LIMIT 1) AS first ON true
