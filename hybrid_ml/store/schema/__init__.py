"""Migrations of the database, applied by `hybrid_ml.store.engine.migrate`."""
