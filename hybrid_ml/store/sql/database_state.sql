-- What a connection can use: its schema, whether it may write, and where the revision is.
-- own_alembic_version: until 0.1.0 the revision was in table alembic_version, which other programs use as well. It is
-- ours where our tables are beside it. NULL: there is none of ours; else whether this role may rename it.
SELECT
    current_schema() AS schema,
    current_setting('search_path') AS search_path,
    pg_is_in_recovery() AS is_replica,
    current_setting('transaction_read_only')::boolean AS read_only,
    to_regclass('hybrid_ml_version') IS NOT NULL AS has_version_table,
    (
        SELECT pg_has_role(old.relowner, 'USAGE')
        FROM pg_class AS old
        WHERE old.oid = to_regclass('alembic_version')
            AND (
                SELECT count(*) FROM pg_class AS ours
                WHERE ours.relnamespace = old.relnamespace AND ours.relname IN ('bars', 'model_versions', 'predictions')
            ) = 3
    ) AS own_alembic_version
