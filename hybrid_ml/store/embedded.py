"""The embedded PostgreSQL: one account owns it, and it stops when no process uses it."""

import atexit
import fcntl
import os
import threading
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import IO

from hybrid_ml.config.settings import load_settings
from hybrid_ml.errors import StoreUnavailable
from hybrid_ml.store.postgres_programs import find_programs
from hybrid_ml.store.postgres_roles import (
    ROLE,
    connect,
    drop_scratch_databases,
    make_scratch_database,
    prepare_database,
    write_access_files,
)
from hybrid_ml.store.postgres_server import (
    Cluster,
    ensure_running,
    initialise,
    limit_log,
    postmaster,
    stop,
)
from hybrid_ml.store.private_folders import make_data_folder, make_server_folder, server_account

DATABASE = "hybrid_ml"
TURN, USERS = "postgres.turn", "postgres.users"
"""Lock files beside the server's folder: the first is held to start or stop it, the second shared by every process
that uses it. The operating system releases locks when a process ends, so a killed process does not keep it running.
"""
_joined: dict[Path, IO[bytes]] = {}
_guard = threading.Lock()


def start_embedded(data_dir: Path, database: str = DATABASE, extensions: Sequence[str] = ()) -> str:
    """Start the server whose files are in `data_dir`/postgres, or join it; return the address of `database`.

    The database is created where it is missing, with `extensions`. The address has no password: the server gets the
    account from the operating system and admits this process's account alone, as a role that owns its databases only.
    The server stops when the last process that joined it ends. Raises StoreUnavailable when it cannot start, or
    when another account owns its folder.
    """
    try:
        cluster = _cluster(data_dir)
        with _guard, _turn(cluster):
            _join(cluster)
            changed = _run(cluster)
            prepare_database(cluster, database, extensions, reload=changed)
    except OSError as error:
        raise StoreUnavailable(
            f"the embedded PostgreSQL in {data_dir / 'postgres'} did not start ({error}); make the folder writable, "
            "choose another with HYBRID_ML_DATA_DIR, or set NEON_CONN_STR"
        ) from error
    return cluster.address(database, ROLE)


def for_asyncpg(address: str) -> str:
    """`address` of `start_embedded` for asyncpg, which cannot check the account behind a socket."""
    return address.replace("postgresql://", "postgresql+asyncpg://").partition("&requirepeer=")[0]


def administrator_address(data_dir: Path, database: str = "postgres") -> str:
    """The superuser's address of `database` on a server that this process has joined, for creating databases."""
    return _cluster(data_dir).address(database)


@contextmanager
def scratch_database(data_dir: Path) -> Iterator[str]:
    """The address of an empty database on the embedded server, dropped afterwards.

    Scratch databases of killed processes are dropped as well.
    """
    start_embedded(data_dir)
    cluster = _cluster(data_dir)
    drop_scratch_databases(cluster)
    name = make_scratch_database(cluster)
    try:
        with closing(connect(cluster, name)):  # so that no other process drops it as a leftover
            yield cluster.address(name, ROLE)
    finally:
        drop_scratch_databases(cluster, name)


def keep_embedded_running(data_dir: Path) -> str:
    """Start the server again if it has ended; returns why that failed, empty when it runs.

    For a process that called `start_embedded` before.
    """
    try:
        cluster = _cluster(data_dir)
        if postmaster(cluster) is None:
            with _guard, _turn(cluster):
                _run(cluster)
    except (OSError, StoreUnavailable) as error:  # tried again later
        return " ".join(str(error).split())
    return ""


def limit_embedded_log(data_dir: Path) -> None:
    """Move the server's log to another file where it is too large. This is done at each start as well."""
    limit_log(_cluster(data_dir))


def _cluster(data_dir: Path) -> Cluster:
    account = server_account()
    folder = make_data_folder(data_dir, account) / "postgres"
    make_server_folder(folder, account)
    return Cluster(folder.resolve(), account)


def _run(cluster: Cluster) -> bool:
    """Start it where needed; returns whether it ran already and must reload its access files."""
    was_running = postmaster(cluster) is not None
    programs = find_programs(load_settings().hybrid_ml_postgres_bin, cluster.account)
    if not was_running:
        initialise(cluster, programs)
    changed = write_access_files(cluster)
    ensure_running(cluster, programs)
    return changed and was_running


@contextmanager
def _turn(cluster: Cluster) -> Iterator[None]:
    """Let one process at a time start or stop the server."""
    with _open(cluster, TURN) as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _open(cluster: Cluster, name: str) -> IO[bytes]:
    flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
    return os.fdopen(os.open(cluster.folder.parent / name, flags, 0o600), "r+b")


def _join(cluster: Cluster) -> None:
    """Register this process as a user of the server, until it ends."""
    if cluster.folder in _joined:
        return
    _joined[cluster.folder] = users = _open(cluster, USERS)
    fcntl.flock(users, fcntl.LOCK_SH)
    atexit.register(_leave, cluster)


def _leave(cluster: Cluster) -> None:
    """Stop the server unless another process uses it."""
    users = _joined.pop(cluster.folder, None)
    if users is None:  # this process is a fork of the one that joined
        return
    with suppress(OSError), _turn(cluster):  # where the folder was deleted, the server ends by itself
        users.close()
        with _open(cluster, USERS) as others:
            fcntl.flock(others, fcntl.LOCK_EX | fcntl.LOCK_NB)
            stop(cluster)


def _forget_in_fork() -> None:
    """A fork is no user of the server: a lock that it closes stays held by its parent process."""
    global _guard  # noqa: PLW0603  # another thread may hold it at the moment of the fork
    _guard = threading.Lock()
    for users in _joined.values():
        users.close()
    _joined.clear()


os.register_at_fork(after_in_child=_forget_in_fork)
