"""The Prefect server: its address, its start, and the restriction of access to it."""

import ipaddress
import json
import os
import socket
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from deployments.provision.names import SERVER_EXTENSIONS
from deployments.provision.server_api import server_problem
from deployments.service.authentication import SERVER_VARIABLE
from deployments.service.supervisor import SupervisedProcess
from hybrid_ml.errors import BadInput, ServiceUnavailable
from hybrid_ml.store.embedded import for_asyncpg, start_embedded

if TYPE_CHECKING:
    pass

DATABASE = "prefect"
START_SECONDS = 120
UI_VARIABLES = ("PREFECT_SERVER_UI_API_URL", "PREFECT_UI_API_URL")
DATABASE_VARIABLES = ("PREFECT_SERVER_DATABASE_CONNECTION_URL", "PREFECT_API_DATABASE_CONNECTION_URL")
EVERY_ADDRESS = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104  # compared, not bound
"""Hosts that stand for all addresses of this machine, and the address by which it reaches itself."""
SERVER_MODULE = "deployments.service.prefect_server"
BACKLOG = 2_048
"""Connections that may wait while the server starts."""
LOOPBACK_NAMES = ("127.0.0.1", "localhost", "[::1]")
CORS_VARIABLES = ("PREFECT_SERVER_CORS_ALLOWED_ORIGINS", "PREFECT_SERVER_API_CORS_ALLOWED_ORIGINS")
PROJECT_PREFIXES = ("TELEGRAM_", "HYBRID_ML_", "NEON_")
SERVER_SETTINGS = {
    "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
    # Seconds that finished runs are kept: with a page and a picture for every analysis, the database would otherwise
    # grow without limit.
    "PREFECT_SERVER_SERVICES_DB_VACUUM_ENABLED": "events,flow_runs",
    "PREFECT_SERVER_SERVICES_DB_VACUUM_RETENTION_PERIOD": str(30 * 24 * 3_600),
    # Events take most of a run's space, and its states and its log contain the same for longer. Prefect reads this one
    # as an ISO 8601 duration, not as plain seconds.
    "PREFECT_SERVER_EVENTS_RETENTION_PERIOD": "P3D",
    # Seconds by event. Those of a page contain all of it with its picture; those of a stage repeat its task run.
    "PREFECT_SERVER_SERVICES_DB_VACUUM_EVENT_RETENTION_OVERRIDES": json.dumps(
        dict.fromkeys(("prefect.artifact-collection.created", "prefect.artifact-collection.updated"), 3_600)
        | dict.fromkeys(("prefect.task-run.Running", "prefect.task-run.Completed"), 24 * 3_600)
        | {"prefect.flow-run.heartbeat": 24 * 3_600}
    ),
    # Seconds. A PostgreSQL that hangs for minutes is waited for; with Prefect's 10 and 5 every request would
    # fail, which ends workers with their runs. One that is gone is noticed at once in any case.
    "PREFECT_SERVER_DATABASE_TIMEOUT": "180",
    "PREFECT_SERVER_DATABASE_CONNECTION_TIMEOUT": "180",
    "PREFECT_SERVER_CSRF_PROTECTION_ENABLED": "true",
    # The server's own log; the worker prints the logs of flows.
    "PREFECT_SERVER_LOGGING_LEVEL": "WARNING",
}
"""Settings of the server of `up` where you state no others. A test checks that compose.yaml states the same."""


def check_browsers(host: str, port: int) -> None:
    """Raises BadInput where the UI would send browsers on other machines to their own machine."""
    if host in EVERY_ADDRESS and not public_url():
        raise BadInput(
            f"--host {host} is every address of this machine, and browsers need one: name it with --host, or set "
            f"PREFECT_UI_API_URL=http://ADDRESS:{port}/api"
        )


def public_url() -> str:
    """The server's address for browsers, where you state it; the variable has two names."""
    return next((os.environ[name] for name in UI_VARIABLES if os.environ.get(name)), "")


def is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def listen(host: str, port: int) -> socket.socket:
    """The socket for the server; held by `up`, so that no other process takes the port while the server starts.

    A process that answered there instead would get the authentication string. Raises BadInput where the port is
    in use.
    """
    listener = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((host, port))
        listener.listen(BACKLOG)
    except OSError as error:
        listener.close()
        raise BadInput(
            f"the server cannot listen on {host}:{port} ({error.strerror}); choose another with --port, or use "
            f"the server that is there with PREFECT_API_URL=http://{host}:{port}/api"
        ) from None
    return listener


def reached_at(host: str) -> str:
    """The address by which this machine reaches a server that listens on `host`."""
    shown = EVERY_ADDRESS.get(host, host)
    return f"[{shown}]" if ":" in shown else shown


def server_service(
    host: str, port: int, data_dir: Path, authentication: str, allowed_hosts: list[str], listener: socket.socket
) -> SupervisedProcess:
    """The server, with a database of its own on the embedded PostgreSQL unless you name another.

    `allowed_hosts`: further host names for requests; `listener`: the socket from `listen`.
    """
    # By default it unpacks its UI beside its own code, which may not be writable.
    unpacked = {"PREFECT_SERVER_UI_STATIC_DIRECTORY": str(data_dir / "prefect-ui")}
    environment = SERVER_SETTINGS | unpacked | server_environment(os.environ)
    if not any(environment.get(name) for name in DATABASE_VARIABLES):
        address = start_embedded(data_dir, DATABASE, SERVER_EXTENSIONS)
        environment[DATABASE_VARIABLES[0]] = for_asyncpg(address)
    api_url = f"http://{reached_at(host)}:{port}/api"
    ui_api_url = public_url() or api_url
    environment |= {"PREFECT_API_URL": api_url, SERVER_VARIABLE: authentication}
    environment |= dict.fromkeys(UI_VARIABLES, ui_api_url)
    # Pages of other origins, open in the same browser, must not read secrets here or start runs.
    if not any(environment.get(name) for name in CORS_VARIABLES):
        environment[CORS_VARIABLES[0]] = ",".join(own_origins(ui_api_url, port))
    command = [sys.executable, "-m", SERVER_MODULE, "--descriptor", str(listener.fileno())]
    for name in dict.fromkeys([*allowed_hosts, host, urlsplit(ui_api_url).hostname or host]):
        command += ["--allowed_host", name]
    return SupervisedProcess("server", command, environment, stop_seconds=15, passed_descriptors=(listener.fileno(),))


def own_origins(ui_api_url: str, port: int) -> list[str]:
    """Origins of the UI's pages; on this machine there are several."""
    parts = urlsplit(ui_api_url)
    names = LOOPBACK_NAMES if is_loopback(parts.hostname or "") else ()
    return list(dict.fromkeys([f"{parts.scheme}://{parts.netloc}", *(f"http://{name}:{port}" for name in names)]))


def server_environment(environment: Mapping[str, str]) -> dict[str, str]:
    """The variables that the server needs: none of the project's own settings, which include secrets."""
    return {name: value for name, value in environment.items() if not name.startswith(PROJECT_PREFIXES)}


def client_environment(environment: Mapping[str, str]) -> dict[str, str]:
    """The variables that a worker or the bot needs: not the address of the server's own database."""
    return {name: value for name, value in environment.items() if name not in (*DATABASE_VARIABLES, SERVER_VARIABLE)}


def wait_until_ready(
    api_url: str, ended: Callable[[], bool], wait: Callable[[], None], seconds: float = START_SECONDS
) -> None:
    """Wait for the server to answer. Raises ServiceUnavailable when it has `ended`, or does not answer in `seconds`."""
    end, problem = time.monotonic() + seconds, "no answer"
    while time.monotonic() < end:
        problem = server_problem(api_url)
        if not problem and not ended():
            return
        if ended():
            raise ServiceUnavailable(f"the Prefect server ended while it started; see its output above ({problem})")
        wait()
    raise ServiceUnavailable(f"no Prefect server answers at {api_url} ({problem}); check PREFECT_API_URL")
