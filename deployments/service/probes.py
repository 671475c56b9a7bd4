"""Checks whether the parts are ready. Each returns within the stated seconds."""

import json
import urllib.error
import urllib.request
from contextlib import closing
from urllib.parse import urlsplit

import psycopg2

NO_DATABASE = "its database does not answer"


def server_problem(api_url: str, seconds: float) -> str:
    """Why the Prefect server or its database is not ready; empty when both are."""
    try:
        with urllib.request.urlopen(f"{api_url.rstrip('/')}/ready", timeout=seconds) as answer:  # noqa: S310  # the user's own server
            json.load(answer)
    except urllib.error.HTTPError as error:
        return NO_DATABASE if error.code == 503 else f"it answers with {error.code}"
    except TimeoutError:
        return f"no answer within {seconds:g} s"
    except (OSError, ValueError) as error:
        return str(getattr(error, "reason", error)) or type(error).__name__
    return ""


def database_problem(address: str, seconds: float) -> str:
    """Why connecting to the database at `address`, of any driver, fails; empty when it works."""
    kept = urlsplit(address)._replace(scheme="postgresql").geturl()
    try:
        with closing(psycopg2.connect(kept, connect_timeout=max(2, round(seconds)))) as made, made.cursor() as cursor:
            cursor.execute("SELECT 1")
    except psycopg2.Error as error:
        lines = [line.strip() for line in str(error).splitlines() if line.strip()]
        return lines[-1] if lines else type(error).__name__
    return ""


def has_database(address: str, name: str, seconds: float) -> bool:
    """Whether the PostgreSQL behind `address` has the database `name`. Raises psycopg2.Error without an answer."""
    with closing(psycopg2.connect(address, connect_timeout=max(2, round(seconds)))) as made, made.cursor() as cursor:
        cursor.execute("SELECT 1 FROM pg_database WHERE datname = %s", (name,))
        return cursor.fetchone() is not None
