"""A real PostgreSQL without a server of one's own: it belongs to one account, and stops when nobody uses it."""

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
"""Lock files beside the server's folder: held to start and stop it; shared by every process that uses it.

The system lets go of a lock when its process ends, however it does: none that was killed keeps the server up.
"""
_joined: dict[Path, IO[bytes]] = {}
_guard = threading.Lock()


def start_embedded(data_dir: Path, database: str = DATABASE, extensions: Sequence[str] = ()) -> str:
    """Start, or join, the server whose files lie in `data_dir`/postgres; return the address of `database`.

    The database is made where it is missing, with `extensions`. The address holds no password: the server asks the
    system who connects, and lets in this process's account alone, as a role that owns its databases and no more.
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
    """`address` of `start_embedded` for asyncpg, which cannot ask who serves a socket."""
    return address.replace("postgresql://", "postgresql+asyncpg://").partition("&requirepeer=")[0]


def administrator_address(data_dir: Path, database: str = "postgres") -> str:
    """The superuser's way into `database` on a server that this process has joined, for making databases."""
    return _cluster(data_dir).address(database)


@contextmanager
def scratch_database(data_dir: Path) -> Iterator[str]:
    """The address of an empty database on the embedded server, which is dropped afterwards.

    One that a killed process left behind is dropped as well.
    """
    start_embedded(data_dir)
    cluster = _cluster(data_dir)
    drop_scratch_databases(cluster)
    name = make_scratch_database(cluster)
    try:
        with closing(connect(cluster, name)):  # so that nobody else takes it for one left behind
            yield cluster.address(name, ROLE)
    finally:
        drop_scratch_databases(cluster, name)


def keep_embedded_running(data_dir: Path) -> str:
    """Start the server again if it has ended; returns why that did not work, empty when it runs.

    For a process that called `start_embedded` before.
    """
    try:
        cluster = _cluster(data_dir)
        if postmaster(cluster) is None:
            with _guard, _turn(cluster):
                _run(cluster)
    except (OSError, StoreUnavailable) as error:  # asked again later
        return " ".join(str(error).split())
    return ""


def limit_embedded_log(data_dir: Path) -> None:
    """Move the server's log aside where it has grown too large. It is done at each start as well."""
    limit_log(_cluster(data_dir))


def _cluster(data_dir: Path) -> Cluster:
    account = server_account()
    folder = make_data_folder(data_dir, account) / "postgres"
    make_server_folder(folder, account)
    return Cluster(folder.resolve(), account)


def _run(cluster: Cluster) -> bool:
    """Have it run; whether it ran already and must read anew who may connect."""
    was_running = postmaster(cluster) is not None
    programs = find_programs(load_settings().hybrid_ml_postgres_bin, cluster.account)
    if not was_running:
        initialise(cluster, programs)
    changed = write_access_files(cluster)
    ensure_running(cluster, programs)
    return changed and was_running


@contextmanager
def _turn(cluster: Cluster) -> Iterator[None]:
    """One process at a time starts or stops the server."""
    with _open(cluster, TURN) as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _open(cluster: Cluster, name: str) -> IO[bytes]:
    flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
    return os.fdopen(os.open(cluster.folder.parent / name, flags, 0o600), "r+b")


def _join(cluster: Cluster) -> None:
    """Count as one that uses the server, until this process ends."""
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
    with suppress(OSError), _turn(cluster):  # where the folder has gone, the server ends by itself
        users.close()
        with _open(cluster, USERS) as others:
            fcntl.flock(others, fcntl.LOCK_EX | fcntl.LOCK_NB)
            stop(cluster)


def _forget_in_fork() -> None:
    """A fork has not joined: what it closes stays locked by the process it came from."""
    global _guard  # noqa: PLW0603  # another thread may hold it at the moment of the fork
    _guard = threading.Lock()
    for users in _joined.values():
        users.close()
    _joined.clear()


os.register_at_fork(after_in_child=_forget_in_fork)
