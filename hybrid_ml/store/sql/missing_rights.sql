-- The rights that this role lacks for running everything, as "INSERT on bars".
SELECT privilege || ' on ' || name
FROM unnest(CAST(:tables AS text[])) AS name, unnest(ARRAY['SELECT', 'INSERT', 'UPDATE', 'DELETE']) AS privilege
WHERE to_regclass(name) IS NOT NULL AND NOT has_table_privilege(to_regclass(name), privilege)
UNION ALL
SELECT 'TEMPORARY on database ' || current_database()
WHERE NOT has_database_privilege(current_database(), 'TEMPORARY')
