"""Access to PostgreSQL and to the local model files."""
