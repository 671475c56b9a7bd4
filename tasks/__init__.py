"""Stages as Prefect tasks: each wraps one call into hybrid_ml with retries, a timeout and a log."""
