"""Setting up a Prefect server: deployments of prefect.yaml, blocks, limits; `hybrid-ml deploy`."""
