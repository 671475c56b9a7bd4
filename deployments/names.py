"""What is called how on the Prefect server."""

POOL = "hybrid-ml"
TAG = "hybrid-ml"
"""Every deployment carries it, and every run by hand: the automation looks after these alone."""
ZOMBIE_AUTOMATION = "hybrid-ml: a silent run is Crashed"
