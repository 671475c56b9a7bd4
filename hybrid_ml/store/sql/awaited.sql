-- Those of some symbols that have a bar of the five minutes before :time, and none of that minute yet: a program that
-- loads bars every minute left out no more of them, while the bars of a file end and nothing follows.
SELECT chosen.symbol
FROM unnest(CAST(:symbols AS text[])) AS chosen (symbol)
WHERE NOT EXISTS (SELECT FROM bars WHERE bars.symbol = chosen.symbol AND bars.time = :time)
    AND EXISTS (
        SELECT FROM bars
        WHERE bars.symbol = chosen.symbol
            AND bars.time BETWEEN CAST(:time AS timestamptz) - interval '5 minutes' AND :time
    )
