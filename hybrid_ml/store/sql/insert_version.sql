-- Training is reproducible: the same model again is the same version, which is not changed; only bytes
-- that were pruned or damaged since are restored. No row: nothing changed.
INSERT INTO model_versions AS there (
    version, symbol, kind, parent, as_of, trained_from, trained_until, data_until, rows, row_limit, week,
    leaders, feature_names, classes, label_threshold, temperature, parameters, metrics, library_versions,
    sha256, length, bytes, file_sha256, file_length, status, reason
)
VALUES (
    :version, :symbol, :kind, :parent, :as_of, :trained_from, :trained_until, :data_until, :rows, :row_limit, :week,
    :leaders, :feature_names, :classes, :label_threshold, :temperature,
    CAST(:parameters AS jsonb), CAST(:metrics AS jsonb), CAST(:library_versions AS jsonb),
    :sha256, :length, :bytes, :file_sha256, :file_length, :status, :reason
)
ON CONFLICT (version) DO UPDATE SET bytes = excluded.bytes
WHERE there.sha256 = excluded.sha256
    AND (there.bytes IS NULL OR encode(sha256(there.bytes), 'hex') <> there.sha256)
RETURNING (xmax = 0) AS is_new
