"""Stages as Prefect tasks: a retry, time and log boundary around one call into hybrid_ml."""
