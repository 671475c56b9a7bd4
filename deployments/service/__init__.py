"""The service on one machine: how its Prefect server is started, guarded and signed in to."""
