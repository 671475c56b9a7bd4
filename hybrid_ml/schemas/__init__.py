"""Requests of flows and their reports, as pydantic models."""
