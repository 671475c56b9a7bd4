-- In one statement, since adapters refer to their bases.
UPDATE model_versions
SET symbol = :to, version = own.new_version, parent = base.new_version
FROM renamed AS own
LEFT JOIN model_versions AS old ON old.version = own.version
LEFT JOIN renamed AS base ON base.version = old.parent
WHERE model_versions.symbol = :symbol AND model_versions.version = own.version
