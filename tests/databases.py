"""Creates, copies and drops databases on the session's server; and a separate server that a test can stop."""

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

TIMEOUT_SECONDS = 60.0


@contextmanager
def database(server: str, template: str = "") -> Iterator[str]:
    """Address of a new database: empty, or a copy of the one at `template`, to which nothing is connected."""
    name = f"test_{uuid.uuid4().hex[:12]}"
    create(server, name, template)
    yield server.replace("//postgres@/postgres?", f"//{ROLE}@/{name}?")
    run_as_superuser(server, f"DROP DATABASE {name} WITH (FORCE)")


def create(server: str, name: str, template: str = "") -> None:
    """Create a database: empty, or a copy of the one at the address `template`."""
    source = f" TEMPLATE {make_url(template).database}" if template else ""
    run_as_superuser(server, f"CREATE DATABASE {name} OWNER {ROLE}{source}")


def replace(server: str, address: str, template: str) -> None:
    """Replace the database at `address` by a copy of the one at `template`; its connections are closed."""
    name = str(make_url(address).database)
    run_as_superuser(server, f"DROP DATABASE {name} WITH (FORCE)")
    create(server, name, template)


def run_as_superuser(server: str, statement: str) -> None:
    """Run a statement that cannot run in a transaction."""
    connection = psycopg2.connect(server)
    connection.autocommit = True
    with closing(connection), connection.cursor() as cursor:
        end = time.monotonic() + TIMEOUT_SECONDS
        while True:
            try:
                return cursor.execute(statement)
            except ObjectInUse:  # a terminated connection may take a while to close on a busy machine
                if time.monotonic() > end:
                    raise
                time.sleep(1)


@contextmanager
def role(server: str, address: str, *statements: str, password: str = "p") -> Iterator[str]:  # noqa: S107  # of a test role
    """The address of the database at `address` for a new role that may log in and owns nothing.

    The superuser runs `statements` there first; {role} and {database} stand for the names.
    """
    url = make_url(address)
    name, superuser = f"role_{uuid.uuid4().hex[:12]}", server.replace("/postgres?", f"/{url.database}?")
    run_as_superuser(superuser, f"CREATE ROLE {name} LOGIN PASSWORD '{password}'")
    try:
        for statement in statements:
            run_as_superuser(superuser, statement.format(role=name, database=url.database))
        yield url.set(username=name, password=password).render_as_string(hide_password=False)
    finally:
        run_as_superuser(superuser, f"DROP OWNED BY {name} CASCADE")
        run_as_superuser(superuser, f"DROP ROLE {name}")


def allow_every_role(folder: Path) -> None:
    """Let this account log in as any role, also those of single tests; takes effect at the next reload."""
    with (folder / "pg_ident.conf").open("a") as file:
        file.write(f'owner "{getpass.getuser()}" all\n')


def disable_fsync(server: str) -> None:
    """Switch fsync off: test databases need not survive a power cut, and creating one would wait for the disk."""
    run_as_superuser(server, "ALTER SYSTEM SET fsync = off")
    run_as_superuser(server, "SELECT pg_reload_conf()")
    end = time.monotonic() + TIMEOUT_SECONDS
    while _setting(server, "fsync") != "off":
        assert time.monotonic() < end, "the server does not read its configuration"
        time.sleep(0.05)


def _setting(server: str, name: str) -> str:
    with closing(psycopg2.connect(server)) as connection, connection.cursor() as cursor:
        cursor.execute(f"SHOW {name}")
        return cursor.fetchone()[0]


def end_other_connections(connection: Connection) -> None:
    """End every other connection to this database, and wait until all are closed."""
    statement = text(
        "SELECT pg_terminate_backend(pid, 20000) FROM pg_stat_activity "
        "WHERE pid <> pg_backend_pid() AND datname = current_database() AND backend_type = 'client backend'"
    )
    connection.execute(statement)


class OwnPostgres:
    """An embedded PostgreSQL that a test can stop and start while it is in use.

    `folder` must not lie below pytest's own folder, which pytest closes to other users when a session begins.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.address = start_embedded(folder)
        disable_fsync(administrator_address(folder))

    def stop(self) -> None:
        """Immediate shutdown: every connection is closed without a message."""
        pid = int((self.folder / "postgres" / "postmaster.pid").read_text().split()[0])
        with suppress(psutil.NoSuchProcess):
            server = psutil.Process(pid)
            os.kill(pid, signal.SIGQUIT)
            server.wait(60)

    def start(self) -> None:
        """Start it unless it is running."""
        problem = keep_embedded_running(self.folder)
        if problem:
            raise RuntimeError(f"PostgreSQL does not come back: {problem}")
