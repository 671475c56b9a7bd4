-- A version without its bytes; the server computes their length and checksum, so that they need not be transferred.
SELECT version, symbol, kind, parent, created_at, as_of, trained_from, trained_until, data_until, rows, row_limit,
    week, leaders, feature_names, classes, label_threshold, temperature, parameters, metrics, library_versions,
    sha256, length, file_sha256, file_length, status, reason,
    bytes IS NOT NULL AS bytes_kept, length(bytes) AS found_length, encode(sha256(bytes), 'hex') AS found_sha256,
    (SELECT count(*) FROM predictions WHERE predictions.symbol = model.symbol AND model_version = model.version) AS predictions,
    (SELECT count(*) FROM model_versions WHERE parent = model.version) AS adapters
FROM model_versions AS model
WHERE version = :version
