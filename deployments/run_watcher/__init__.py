"""Runs without heartbeats are set to Crashed, and a slot's run that crashed in time runs again.

It is a task of the worker and not an automation of the Prefect server, because an automation also counts the time
in which the whole machine was suspended, and accepts events from anybody.
"""
