"""What is called how on the Prefect server."""

POOL = "hybrid-ml"
ZOMBIE_AUTOMATION = "hybrid-ml: runs that fell silent are Crashed"
