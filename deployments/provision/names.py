"""Names on the Prefect server."""

POOL = "hybrid-ml"
TAG = "hybrid-ml"
"""The tag of every deployment, and of every run by hand: the run watcher reads runs with this tag only."""
MONITOR = "monitor"
"""The name of the service of `up` that reports problems to people."""
SERVER_EXTENSIONS = ("pg_trgm",)
"""Extensions for the Prefect server's database; the server may not create them in the embedded PostgreSQL."""
