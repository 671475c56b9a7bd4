"""How flows are run: set up on a Prefect server, started, watched, displayed."""
