-- The base in use at :as_of: the champion, unless it has seen later bars; then the
-- newest former champion that has not.
SELECT version, sha256, length, file_sha256, file_length, status
FROM model_versions
WHERE symbol = :symbol
    AND kind IN ('base', 'scratch')
    AND status IN ('champion', 'retired')
    AND data_until <= :as_of
    AND bytes IS NOT NULL -- pruned ones cannot answer
ORDER BY (status = 'champion') DESC, data_until DESC, created_at DESC
LIMIT 1
