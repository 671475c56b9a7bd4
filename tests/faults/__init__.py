"""Fault injection with real processes, real signals and a real PostgreSQL."""
