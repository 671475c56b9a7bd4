"""The edge to PostgreSQL and to the local model files."""
