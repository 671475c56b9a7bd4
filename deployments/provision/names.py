"""What is called how on the Prefect server."""

POOL = "hybrid-ml"
TAG = "hybrid-ml"
"""Every deployment carries it, and every run by hand: the worker's watch over silent runs looks at these alone."""
MONITOR = "monitor"
"""The service of `up` that tells people, by its name there."""
SERVER_EXTENSIONS = ("pg_trgm",)
"""Of the Prefect server's database; it would make them itself, but is no superuser on the embedded PostgreSQL."""
