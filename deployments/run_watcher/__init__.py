"""Runs that fell silent are Crashed, and a slot's run that crashed while it was still worth something runs again.

It is a task of the worker and not an automation of the Prefect server, because an automation counts the time in which
the whole machine slept, and believes any event it is sent.
"""
