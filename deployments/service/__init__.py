"""The service on one machine: its Prefect server guarded and signed in to, whether its parts are ready, the monitor."""
