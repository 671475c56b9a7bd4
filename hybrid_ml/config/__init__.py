"""Settings of the environment, thresholds, and what Prefect blocks put in their place."""
