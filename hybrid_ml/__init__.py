"""What the system knows about bars, models and signals. Below `hybrid_ml.cli` nothing imports Prefect."""
