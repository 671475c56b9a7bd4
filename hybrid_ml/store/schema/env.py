"""Alembic's entry point: run the migrations on the connection passed by `hybrid_ml.store.engine`.

The revision is in a table of our own, since `alembic_version` may be another program's.
"""

from alembic import context

from hybrid_ml.store.schema_version import VERSION_TABLE

connection = context.config.attributes["connection"]
context.configure(connection=connection, target_metadata=None, transactional_ddl=True, version_table=VERSION_TABLE)
with context.begin_transaction():
    context.run_migrations()
