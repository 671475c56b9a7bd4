"""What the system knows about bars, models and signals. Imports no Prefect."""
