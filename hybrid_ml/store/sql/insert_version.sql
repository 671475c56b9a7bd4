-- Training is reproducible: the same model again is the same version, and stays as it is.
INSERT INTO model_versions (
    version, symbol, kind, parent, as_of, trained_from, trained_until, data_until, rows, row_limit, week,
    feature_names, classes, label_threshold, temperature, parameters, metrics, library_versions,
    sha256, length, bytes, file_sha256, file_length, status, reason
)
VALUES (
    :version, :symbol, :kind, :parent, :as_of, :trained_from, :trained_until, :data_until, :rows, :row_limit, :week,
    :feature_names, :classes, :label_threshold, :temperature,
    CAST(:parameters AS jsonb), CAST(:metrics AS jsonb), CAST(:library_versions AS jsonb),
    :sha256, :length, :bytes, :file_sha256, :file_length, :status, :reason
)
ON CONFLICT (version) DO NOTHING
