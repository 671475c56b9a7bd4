"""What a Prefect server is given: deployments of prefect.yaml, blocks, limits; `hybrid-ml deploy`."""
