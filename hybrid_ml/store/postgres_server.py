"""The embedded PostgreSQL's files and processes: created, started, checked, stopped; its log limited in size."""

import os
import re
import signal
import subprocess
import tempfile
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

import psutil
import psycopg2

from hybrid_ml.errors import StoreUnavailable, StoreUnreachable
from hybrid_ml.store.postgres_programs import Programs, environment, reason, run
from hybrid_ml.store.private_folders import Account, is_private

SUPERUSER = "postgres"
PORT = 5432
"""Part of the socket's name; the server listens on no network."""
LONGEST_SOCKET_FOLDER = 80
"""A unix socket's path ends at 103 characters on macOS, 107 on Linux; its name and the server's take 20."""
START_SECONDS, STOP_SECONDS = 60.0, 60.0
LOG_BYTES = 10_000_000
"""PostgreSQL's log is moved to `log.1` when it is larger, so both together hold at most twice as much."""
STILL_ENDING = "shared memory block"
"""Part of PostgreSQL's error while processes of a killed server are still running."""
NOT_YET = re.compile(
    "starting up|shutting down|not yet accepting|recovery|No such file|refused|closed the connection|timeout expired"
)


@dataclass(frozen=True)
class Cluster:
    """The server whose files lie in `folder`, which runs as `account`."""

    folder: Path
    account: Account

    @property
    def log(self) -> Path:
        return self.folder / "log"

    def address(self, database: str, role: str = SUPERUSER) -> str:
        """The address of `database` for `role`, without a password: the server checks the connecting account."""
        host = quote(str(self.socket_folder()))
        # requirepeer: no server of another account is accepted, should it ever own the socket's folder.
        return f"postgresql://{role}@/{database}?host={host}&requirepeer={quote(self.account.name)}"

    def socket_folder(self) -> Path:
        """The data files' folder; where its path does not fit for a socket, the one noted in `socket_folder`."""
        if _fits(self.folder):
            return self.folder
        return Path(self._socket_note().read_text(encoding="utf-8"))

    def has_private_socket_folder(self) -> bool:
        """Whether only the server's account can have made the socket; checked before connecting."""
        if _fits(self.folder):
            return True
        try:
            return is_private(self.socket_folder(), self.account)
        except OSError:
            return False

    def _socket_note(self) -> Path:
        return self.folder.parent / "socket_folder"

    def make_socket_folder(self) -> None:
        """Make a folder that nobody could have made before; the previous one where possible, which may be in use."""
        if _fits(self.folder):
            return
        with suppress(OSError):
            known = self.socket_folder()
            with suppress(FileExistsError):
                known.mkdir(mode=0o700)
                os.chown(known, self.account.uid, self.account.gid)
            if is_private(known, self.account):
                return
        below = tempfile.gettempdir()
        made = Path(tempfile.mkdtemp(prefix="hybrid-ml-", dir=below if _fits(Path(below) / "hybrid-ml-") else "/tmp"))  # noqa: S108
        os.chown(made, self.account.uid, self.account.gid)
        self._socket_note().write_text(str(made), encoding="utf-8")

    def remove_socket_folder(self) -> None:
        """Remove it after the server has stopped."""
        if not _fits(self.folder):
            with suppress(OSError):
                self.socket_folder().rmdir()


def _fits(folder: Path) -> bool:
    """Whether the path can hold a socket, and needs no escaping in an address."""
    return len(str(folder)) <= LONGEST_SOCKET_FOLDER and re.fullmatch(r"[\w./+@:-]+", str(folder), re.ASCII) is not None


def initialise(cluster: Cluster, programs: Programs) -> None:
    """Create the server's files where there are none. Raises StoreUnavailable where another major version made them."""
    version = cluster.folder / "PG_VERSION"
    if version.exists():
        made_by = version.read_text(encoding="ascii").strip()
        if made_by != str(programs.major):
            raise StoreUnavailable(
                f"the database in {cluster.folder} was made by PostgreSQL {made_by}, and {programs.folder} holds "
                f"PostgreSQL {programs.major}; set HYBRID_ML_POSTGRES_BIN to one of {made_by} (unset: the bundled "
                "one), or carry the data over with `hybrid-ml backup` and `restore`"
            )
        return
    # No locale of this machine, so that text sorts the same on every machine that gets the files or a backup.
    options = ["--no-locale", "--encoding=UTF8", "--auth=peer", "--auth-host=reject", f"--username={SUPERUSER}"]
    try:
        run([programs.folder / "initdb", "-D", cluster.folder, *options], cluster.account)
    except subprocess.CalledProcessError as error:
        raise StoreUnavailable(
            f"the embedded PostgreSQL could not create its files in {cluster.folder} ({reason(error)}); free some "
            "space, or name another folder with HYBRID_ML_DATA_DIR"
        ) from None


def postmaster(cluster: Cluster) -> psutil.Process | None:
    """The server's main process while it lives; another process that reuses its id is not returned."""
    try:
        lines = (cluster.folder / "postmaster.pid").read_text(encoding="utf-8").splitlines()
        process = psutil.Process(int(lines[0]))
        if process.status() != psutil.STATUS_ZOMBIE and Path(process.cwd()) == cluster.folder:
            return process
    except (OSError, ValueError, IndexError, psutil.NoSuchProcess):
        pass
    return None


def ensure_running(cluster: Cluster, programs: Programs) -> None:
    """Start the server unless it runs, and wait until it answers, also where it starts slowly.

    Raises StoreUnreachable when it does not answer within START_SECONDS, or ends.
    """
    end, process = time.monotonic() + START_SECONDS, None
    while True:
        problem = connection_problem(cluster)
        if not problem:
            return
        if not NOT_YET.search(problem) or time.monotonic() > end:
            raise StoreUnreachable(_not_started(cluster, problem))
        if postmaster(cluster) is None:
            if process is None:
                process = _start(cluster, programs)
            elif process.poll() is not None:
                last = _last_line(cluster.log)
                if STILL_ENDING not in last:
                    raise StoreUnreachable(_not_started(cluster, last or problem))
                process = None
                time.sleep(0.5)
        time.sleep(0.05)


def connection_problem(cluster: Cluster) -> str:
    """Why connecting to the server fails; empty when it answers."""
    if not cluster.has_private_socket_folder():
        return "No such file: it has no socket folder of its own"
    try:
        psycopg2.connect(cluster.address("postgres"), connect_timeout=10).close()
    except psycopg2.OperationalError as error:
        return " ".join(str(error).split())
    except OSError:
        return "No such file: it has no socket yet"
    return ""


def _start(cluster: Cluster, programs: Programs) -> subprocess.Popen[bytes]:
    """Start the server in a session of its own, so that Ctrl-C in a terminal does not reach it."""
    _forget_reused_number(cluster)
    cluster.make_socket_folder()
    limit_log(cluster)
    settings = {
        "listen_addresses": "",
        "port": PORT,
        "unix_socket_directories": f'"{cluster.socket_folder()}"',
        "unix_socket_permissions": "0700",
        "logging_collector": "off",
    }
    command = [str(programs.folder / "postgres"), "-D", str(cluster.folder)]
    command += [part for name, value in settings.items() for part in ("-c", f"{name}={value}")]
    log = _open_log(cluster, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    try:
        return subprocess.Popen(  # noqa: S603
            command,
            env=environment(),
            cwd="/",
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
            **cluster.account.process_options(),
        )
    finally:
        os.close(log)


def _forget_reused_number(cluster: Cluster) -> None:
    """Where another process has the id of a server that died, PostgreSQL would take it for that server."""
    with suppress(OSError, ValueError, IndexError):
        note = cluster.folder / "postmaster.pid"
        if psutil.pid_exists(int(note.read_text(encoding="utf-8").split()[0])):
            note.unlink()


def _open_log(cluster: Cluster, flags: int, name: str = "log") -> int:
    """Open its log; as root, never follow a link there."""
    opened = os.open(cluster.folder / name, flags | os.O_NOFOLLOW, 0o600)
    os.fchown(opened, cluster.account.uid, cluster.account.gid)
    return opened


def limit_log(cluster: Cluster) -> None:
    """Move a log that has grown too large to `log.1`. The server continues writing to the same file."""
    with suppress(OSError):
        if cluster.log.stat().st_size <= LOG_BYTES:
            return
        with (
            open(_open_log(cluster, os.O_RDWR), "r+b") as log,  # a descriptor
            open(_open_log(cluster, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, "log.1"), "wb") as before,
        ):
            log.seek(-LOG_BYTES, os.SEEK_END)
            before.write(log.read(LOG_BYTES))
            log.truncate(0)


def stop(cluster: Cluster) -> None:
    """Stop the server: connections end at once, and no committed data is lost."""
    process = postmaster(cluster)
    if process is None:
        return
    for number, seconds in ((signal.SIGINT, STOP_SECONDS), (signal.SIGQUIT, 10.0)):
        try:
            process.send_signal(number)
            process.wait(seconds)
        except psutil.NoSuchProcess:
            pass
        except psutil.TimeoutExpired:
            continue
        break
    cluster.remove_socket_folder()


def _not_started(cluster: Cluster, problem: str) -> str:
    where = f"the embedded PostgreSQL in {cluster.folder}"
    return f"{where} did not start ({problem}); see {cluster.log}, or set NEON_CONN_STR"


def _last_line(log: Path) -> str:
    with suppress(OSError, IndexError):
        return log.read_text(encoding="utf-8", errors="replace")[-2_000:].strip().splitlines()[-1]
    return ""
