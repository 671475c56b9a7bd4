"""The service on one machine: its Prefect server with request checks and sign-in, readiness checks, the monitor."""
