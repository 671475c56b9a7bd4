"""Databases on the session's server: made, copied and dropped; and a server of one's own, to be stopped."""

import getpass
import os
import signal
import time
import uuid
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path

import psutil
import psycopg2
from psycopg2.errors import ObjectInUse
from sqlalchemy import Connection, text
from sqlalchemy.engine import make_url

from hybrid_ml.store.embedded import administrator_address, keep_embedded_running, start_embedded
from hybrid_ml.store.postgres_roles import ROLE

LEAVE_SECONDS = 60.0


@contextmanager
def database(server: str, template: str = "") -> Iterator[str]:
    """Address of a new database: empty, or a copy of the one at `template`, to which nothing is connected."""
    name = f"test_{uuid.uuid4().hex[:12]}"
    create(server, name, template)
    yield server.replace("//postgres@/postgres?", f"//{ROLE}@/{name}?")
    administrate(server, f"DROP DATABASE {name} WITH (FORCE)")


def create(server: str, name: str, template: str = "") -> None:
    """Create a database: empty, or a copy of the one at the address `template`."""
    source = f" TEMPLATE {make_url(template).database}" if template else ""
    administrate(server, f"CREATE DATABASE {name} OWNER {ROLE}{source}")


def replace(server: str, address: str, template: str) -> None:
    """Put a copy of the database at `template` where the one at `address` was; who is connected is cut off."""
    name = str(make_url(address).database)
    administrate(server, f"DROP DATABASE {name} WITH (FORCE)")
    create(server, name, template)


def administrate(server: str, statement: str) -> None:
    """Run a statement that no transaction may hold."""
    connection = psycopg2.connect(server)
    connection.autocommit = True
    with closing(connection), connection.cursor() as cursor:
        end = time.monotonic() + LEAVE_SECONDS
        while True:
            try:
                return cursor.execute(statement)
            except ObjectInUse:  # who was told to go has not gone yet; on a crowded machine that takes a while
                if time.monotonic() > end:
                    raise
                time.sleep(1)


@contextmanager
def role(server: str, address: str, *statements: str, password: str = "p") -> Iterator[str]:  # noqa: S107  # a test's own
    """The database at `address` for a new role that may log in and owns nothing.

    `statements` are run there by the superuser first, with {role} and {database} for the names.
    """
    url = make_url(address)
    name, superuser = f"role_{uuid.uuid4().hex[:12]}", server.replace("/postgres?", f"/{url.database}?")
    administrate(superuser, f"CREATE ROLE {name} LOGIN PASSWORD '{password}'")
    try:
        for statement in statements:
            administrate(superuser, statement.format(role=name, database=url.database))
        yield url.set(username=name, password=password).render_as_string(hide_password=False)
    finally:
        administrate(superuser, f"DROP OWNED BY {name} CASCADE")
        administrate(superuser, f"DROP ROLE {name}")


def let_every_role_in(folder: Path) -> None:
    """This account may be any role, those of single tests among them; holds from the next reload on."""
    with (folder / "pg_ident.conf").open("a") as file:
        file.write(f'owner "{getpass.getuser()}" all\n')


def make_quick(server: str) -> None:
    """Its databases need not outlive a power cut; making, dropping and recovering one waits for the disk otherwise."""
    administrate(server, "ALTER SYSTEM SET fsync = off")
    administrate(server, "SELECT pg_reload_conf()")
    end = time.monotonic() + LEAVE_SECONDS
    while _setting(server, "fsync") != "off":
        assert time.monotonic() < end, "the server does not read its configuration"
        time.sleep(0.05)


def _setting(server: str, name: str) -> str:
    with closing(psycopg2.connect(server)) as connection, connection.cursor() as cursor:
        cursor.execute(f"SHOW {name}")
        return cursor.fetchone()[0]


def end_others(connection: Connection) -> None:
    """End every other connection to this database, and wait until each is gone."""
    statement = text(
        "SELECT pg_terminate_backend(pid, 20000) FROM pg_stat_activity "
        "WHERE pid <> pg_backend_pid() AND datname = current_database() AND backend_type = 'client backend'"
    )
    connection.execute(statement)


class OwnPostgres:
    """An embedded PostgreSQL that can be stopped and started under whatever uses it.

    `folder` must not lie below pytest's own, which is shut to other users whenever a session begins.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.address = start_embedded(folder)
        make_quick(administrator_address(folder))

    def stop(self) -> None:
        """Immediate shutdown: every connection is cut, nothing is said."""
        pid = int((self.folder / "postgres" / "postmaster.pid").read_text().split()[0])
        with suppress(psutil.NoSuchProcess):
            server = psutil.Process(pid)
            os.kill(pid, signal.SIGQUIT)
            server.wait(60)

    def start(self) -> None:
        """Start it, or find it running."""
        problem = keep_embedded_running(self.folder)
        if problem:
            raise RuntimeError(f"PostgreSQL does not come back: {problem}")
