"""Databases on the session's server: made, copied and dropped."""

import uuid
from collections.abc import Iterator
from contextlib import contextmanager

import psycopg2
from sqlalchemy.engine import make_url


@contextmanager
def database(server: str, template: str = "") -> Iterator[str]:
    """Address of a new database: empty, or a copy of the one at `template`, to which nothing is connected."""
    name = f"test_{uuid.uuid4().hex[:12]}"
    create(server, name, template)
    yield server.replace("@/postgres?", f"@/{name}?")
    administrate(server, f"DROP DATABASE {name} WITH (FORCE)")


def create(server: str, name: str, template: str = "") -> None:
    """Create a database: empty, or a copy of the one at the address `template`."""
    source = f" TEMPLATE {make_url(template).database}" if template else ""
    administrate(server, f"CREATE DATABASE {name}{source}")


def replace(server: str, address: str, template: str) -> None:
    """Put a copy of the database at `template` where the one at `address` was; who is connected is cut off."""
    name = str(make_url(address).database)
    administrate(server, f"DROP DATABASE {name} WITH (FORCE)")
    create(server, name, template)


def administrate(server: str, statement: str) -> None:
    """Run a statement that no transaction may hold."""
    connection = psycopg2.connect(server)
    connection.autocommit = True
    with connection.cursor() as cursor:
        cursor.execute(statement)
    connection.close()
