"""Requests that flows take and reports that they return, as pydantic models."""
