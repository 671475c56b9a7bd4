"""A real Prefect server with its own database: one for all processes of a test session, or one for a single process."""

import fcntl
import json
import os
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import psutil

from hybrid_ml.store.embedded import administrator_address, for_asyncpg, start_embedded
from tests.databases import disable_fsync
from tests.ports import free_port

START_SECONDS, STOP_SECONDS = 600.0, 30.0
OWN_DATABASE = "own_prefect"
UNUSED_SERVICES = (
    "CANCELLATION_CLEANUP", "CLEANUP_RECONCILER", "DB_VACUUM", "EVENT_PERSISTER", "FOREMAN", "LATE_RUNS",
    "PAUSE_EXPIRATIONS", "REPOSSESSOR", "TRIGGERS",
)  # fmt: skip
"""Services that query the database every few seconds, or at each event, and that no test of this server needs."""


def shared_server(folder: Path) -> str:
    """The API address of the session's server below `folder`; the first process that calls this starts it."""
    address = start_embedded(folder, "prefect", ("pg_trgm",))  # every process uses it: the last one to end stops it
    state_file = folder / "prefect-server.json"
    with (folder / "prefect-server.lock").open("w") as lock_file:
        fcntl.flock(lock_file, fcntl.LOCK_EX)
        if not state_file.exists():
            disable_fsync(administrator_address(folder))
            process, url = start_server(folder, "prefect-server", address)
            state_file.write_text(json.dumps({"pid": process.pid, "url": url}))
    return str(json.loads(state_file.read_text())["url"])


def stop_shared_server(folder: Path) -> None:
    """End the server that `shared_server` started, if any."""
    with suppress(FileNotFoundError, psutil.NoSuchProcess):
        stop(psutil.Process(json.loads((folder / "prefect-server.json").read_text())["pid"]))


@contextmanager
def own_server(folder: Path) -> Iterator[str]:
    """The API address of a separate server, for tests that change blocks or variables that all runs read."""
    process, url = start_server(folder, "own-prefect-server", start_embedded(folder, OWN_DATABASE, ("pg_trgm",)))
    try:
        yield url
    finally:
        stop(psutil.Process(process.pid))


def start_server(folder: Path, name: str, address: str) -> tuple[subprocess.Popen, str]:
    """Start a server on the database at `address`, its log in `folder`; returns when it answers.

    Raises RuntimeError with the end of its log if it does not start.
    """
    port = free_port()
    environment = {
        **os.environ,
        **{f"PREFECT_SERVER_SERVICES_{service}_ENABLED": "false" for service in UNUSED_SERVICES},
        "PREFECT_SERVER_SERVICES_SCHEDULER_LOOP_SECONDS": "2",
        # One transaction for the events of many tasks: each event its own costs a quarter of the server's time.
        "PREFECT_SERVER_SERVICES_TASK_RUN_RECORDER_BATCH_SIZE": "100",
        "PREFECT_SERVER_DATABASE_CONNECTION_URL": for_asyncpg(address),
        "PREFECT_SERVER_DATABASE_TIMEOUT": "120",
        "PREFECT_SERVER_DATABASE_CONNECTION_TIMEOUT": "60",
    }
    command = [sys.executable, "-m", "prefect", "server", "start", "--host", "127.0.0.1", "--port", str(port)]
    log = folder / f"{name}.log"
    with log.open("w") as output:
        process = subprocess.Popen(command, env=environment, stdout=output, stderr=output)
    url = f"http://127.0.0.1:{port}/api"
    end = time.monotonic() + START_SECONDS
    while time.monotonic() < end and process.poll() is None:
        with suppress(OSError), urllib.request.urlopen(f"{url}/health", timeout=2) as answer:
            if answer.status == 200:
                return process, url
        time.sleep(0.2)
    raise RuntimeError(f"the Prefect server did not start: {log.read_text()[-2000:]}")


def stop(server: psutil.Process) -> None:
    """SIGTERM, and after STOP_SECONDS on a busy machine SIGKILL: its data is deleted with the session's folder."""
    server.send_signal(signal.SIGTERM)
    try:
        server.wait(STOP_SECONDS)
    except psutil.TimeoutExpired:
        server.kill()
        server.wait()
