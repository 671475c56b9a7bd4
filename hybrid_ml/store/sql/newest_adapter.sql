-- The newest trial of an adapter to a base; when it was rejected, the base is used alone. A trial
-- whose bytes are pruned is not used.
SELECT version, sha256, length, file_sha256, file_length, status
FROM model_versions
WHERE parent = :parent AND data_until <= :as_of AND bytes IS NOT NULL
ORDER BY data_until DESC, as_of DESC, created_at DESC
LIMIT 1
