-- Those of some symbols, in their order, that have no feed or no model yet.
SELECT symbol FROM unnest(CAST(:symbols AS text[])) WITH ORDINALITY AS named (symbol, place)
WHERE NOT EXISTS (SELECT FROM instruments WHERE instruments.symbol = named.symbol AND feed IS NOT NULL)
    OR NOT EXISTS (SELECT FROM model_versions AS model WHERE model.symbol = named.symbol)
ORDER BY place
