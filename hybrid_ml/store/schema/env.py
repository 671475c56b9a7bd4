"""Alembic's entry: run the migrations on the connection handed over by `hybrid_ml.store.engine`."""

from alembic import context

connection = context.config.attributes["connection"]
context.configure(connection=connection, target_metadata=None, transactional_ddl=True)
with context.begin_transaction():
    context.run_migrations()
