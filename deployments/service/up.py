"""`hybrid-ml up`: starts what is missing, sets the server up, and keeps everything running until Ctrl-C."""

import os
import signal
import socket
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from deployments.provision.names import MONITOR
from deployments.service.authentication import CLIENT_VARIABLE, authentication_file, export_line, keep_authentication
from deployments.service.broken_pipe import ignore_broken_pipes
from deployments.service.instance_lock import mark_running, running
from deployments.service.lines import RepeatedLines
from deployments.service.server import (
    check_browsers,
    client_environment,
    is_loopback,
    listen,
    reached_at,
    server_service,
    wait_until_ready,
)
from deployments.service.supervisor import SupervisedProcess, Supervisor
from deployments.service.worker import WORKER_SETTINGS
from hybrid_ml.config.overrides import set_overrides
from hybrid_ml.config.settings import DEFAULT, ENV_FILE, ENVIRONMENT, Settings, load_settings
from hybrid_ml.console.terminal import out
from hybrid_ml.errors import BadInput, ConfigurationUnreachable, HybridMLError, ServiceUnavailable
from hybrid_ml.schemas.add_symbols_request import AddSymbolsRequest
from hybrid_ml.store.embedded import start_embedded
from hybrid_ml.store.engine import check_stated_database, connect_only, migrate, shown

if TYPE_CHECKING:
    from deployments.service.added_symbols import AddedSymbols

READY_SECONDS = 30.0
"""Timeout for the worker's first poll, after which the deployments are READY."""
SETTINGS_SECONDS = 60.0
"""Timeout for reading the blocks of a server that has just started."""
GIVEN_SERVER_SECONDS = 10.0
"""Timeout for a server that should be running already."""
INTERRUPT_SECONDS = 2.0
WORKER_STOP_SECONDS = 30.0
"""Runs in progress may finish within this time; others are terminated and report it in their state."""


@dataclass
class Stop:
    """Whether a person has requested to stop, and whether twice."""

    requested_at: float | None = None
    """Seconds of a monotonic clock."""
    is_stopping: bool = False
    stop_at_once: bool = False
    is_told: bool = False
    """Whether it was said that it stops at once."""

    def __call__(self, number: int, _: object = None) -> None:
        """Handle a signal: interrupt, and after the interrupt has worked, stop at once.

        A closed terminal may send two signals, by its shell and by the kernel: these are not two requests. An interrupt
        gets INTERRUPT_SECONDS before the next one, which is needed where a library caught the first. Nothing is printed
        here: within another line that is being printed, that one would be printed again.
        """
        if number == signal.SIGHUP:
            signal.signal(signal.SIGHUP, signal.SIG_IGN)
        if self.is_stopping:
            self.stop_at_once = True
        elif self.requested_at is None or time.monotonic() - self.requested_at > INTERRUPT_SECONDS:
            self.requested_at = time.monotonic()
            raise KeyboardInterrupt

    def hurries(self) -> bool:
        """Whether to stop at once; says so the first time."""
        if self.stop_at_once and not self.is_told:
            self.is_told = True
            out.print("stopping at once")
        return self.stop_at_once

    def check(self) -> None:
        """Raise KeyboardInterrupt again where a library that catches everything swallowed it."""
        if self.requested_at is not None:
            raise KeyboardInterrupt


def up(host: str, port: int, symbols: AddSymbolsRequest | None = None) -> None:
    """Start what is missing and keep it running; add `symbols` that are new.

    Raises HybridMLError where something cannot be started.
    """
    ignore_broken_pipes()
    other = running()
    if other:
        out.print(f"it is running already, since {other['started_at']}, process {other['pid']}: {other['ui_url']}")
        if symbols:
            raise BadInput(f"add {', '.join(symbols.symbols)} with `hybrid-ml symbols add --symbols NAMES`")
        return
    own_url = f"http://{reached_at(host)}:{port}/api"
    named = named_server(own_url)
    api_url = named or own_url
    about = {"pid": os.getpid(), "api_url": api_url, "ui_url": ui_url(api_url), "own_server": not named}
    supervisor, stop = Supervisor(tell), Stop()
    started = {"started_at": f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC"}
    with mark_running(about | started) as ours:
        if not ours:
            raise BadInput("another `hybrid-ml up` is starting on this data folder; see `hybrid-ml status`")
        with stopping(supervisor, stop):
            settings = load_settings()
            check_stated_database(settings)
            authentication = "" if named else own_authentication(settings.data_dir)
            data_dir, embedded = settings.data_dir, settings.uses_embedded_database or not named
            if embedded:
                start_embedded(data_dir)  # for the project unless another database is named, and for Prefect's server
            if named:
                join_server(api_url)
            else:
                start_server(supervisor, settings, (host, port), authentication)
            set_up_server(api_url)
            settings = read_settings()
            open_database(settings)
            start_work(supervisor, settings, api_url)
            stop.check()
            added = add_symbols(symbols, settings) if symbols else None
            supervise(
                supervisor, api_url, data_dir if embedded else None, settings.hybrid_ml_silence_seconds, stop, added
            )


@contextmanager
def stopping(supervisor: Supervisor, stop: Stop) -> Iterator[None]:
    """Run the block until Ctrl-C, SIGTERM or an error; then stop all services, however often Ctrl-C is pressed."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        if number != signal.SIGHUP or signal.getsignal(number) != signal.SIG_IGN:  # nohup ignores it
            signal.signal(number, stop)
    try:
        yield
    except KeyboardInterrupt:
        stop.is_stopping = True
        out.print("\nstopping; what is running may finish (Ctrl-C again: at once)")
    finally:
        stop.is_stopping, supervisor.tell = True, tell_without_server
        supervisor.stop(stop.hurries)
        out.print("stopped")


def named_server(own_url: str) -> str | None:
    """The server named by the environment or Prefect's profile, where it is not the one we would start."""
    from prefect.settings import get_current_settings

    address = os.environ.get("PREFECT_API_URL") or get_current_settings().api.url
    return None if address == own_url and not os.environ.get("PREFECT_API_URL") else address


def own_authentication(data_dir: Path) -> str:
    """The string for a server of our own; one in Prefect's settings takes precedence over the kept one."""
    from prefect.settings import get_current_settings

    stated = get_current_settings().server.api.auth_string
    return keep_authentication(data_dir, stated.get_secret_value() if stated else "")


def join_server(api_url: str) -> None:
    """Wait for the server named by PREFECT_API_URL or Prefect's profile."""
    use_server(api_url)
    wait_until_ready(api_url, lambda: False, lambda: time.sleep(0.2), GIVEN_SERVER_SECONDS)


def start_server(supervisor: Supervisor, settings: Settings, own: tuple[str, int], authentication: str) -> None:
    """Start a server of our own on `own`, host and port, and print how to sign in."""
    host, port = own
    api_url, data_dir = f"http://{reached_at(host)}:{port}/api", settings.data_dir
    check_browsers(host, port)
    listener = listen(host, port)
    os.environ.setdefault("PREFECT_HOME", str(data_dir / "prefect"))
    os.environ[CLIENT_VARIABLE] = authentication
    use_server(api_url)
    service = server_service(host, port, data_dir, authentication, settings.allowed_hosts, listener)
    supervisor.held.append(listener)
    start_own_server(supervisor, service, api_url)
    show_how_to_sign_in(data_dir, api_url, host)


def use_server(api_url: str) -> None:
    """Let this process and its children use the server at `api_url`."""
    from prefect.context import refresh_global_settings_context

    os.environ["PREFECT_API_URL"] = api_url
    refresh_global_settings_context()


def set_up_server(api_url: str) -> None:
    """Create pool, deployments and blocks on the server."""
    from deployments.provision.deploy import set_up  # with the server's address in the environment

    out.print(f"server     {ui_url(api_url)}")
    for line in set_up():
        out.print(f"set up     {line}")


def show_how_to_sign_in(data_dir: Path, api_url: str, host: str) -> None:
    """Print how to sign in, without the string itself."""
    out.print("           `hybrid-ml ui` opens it signed in; for Prefect's own commands:")
    out.print(f"           {export_line(api_url, authentication_file(data_dir))}", soft_wrap=True, markup=False)
    if not is_loopback(host):
        tell("server", "listens beyond this machine without TLS: put a proxy with TLS before it, or use an SSH tunnel")


def read_settings() -> Settings:
    """The settings including the UI's. Invalid ones are printed and corrected in the UI, so the UI stays up."""
    from tasks.configuration import load_configuration_for_command

    end = time.monotonic() + SETTINGS_SECONDS
    while True:
        try:
            load_configuration_for_command()
            return load_settings()
        except ConfigurationUnreachable:
            if time.monotonic() > end:
                raise
            time.sleep(0.5)
        except HybridMLError as error:
            tell("settings", str(error))
            set_overrides({})
            return load_settings()


def open_database(settings: Settings) -> None:
    """Migrate the database in use; where a block names it, an error is printed, and the UI stays up to correct it."""
    try:
        engine = connect_only(settings)
        revision = migrate(engine)
    except HybridMLError as error:
        if settings.origin("neon_conn_str") in (ENVIRONMENT, ENV_FILE, DEFAULT):
            raise
        tell("database", str(error))
    else:
        out.print(f"database   {shown(engine)}, schema {revision}")


def start_own_server(supervisor: Supervisor, service: SupervisedProcess, api_url: str) -> None:
    """Start it; its output is printed only if it does not become ready."""
    lines: list[str] = []
    supervisor.tell = lambda _, line: lines.append(line)
    try:
        supervisor.start(service)
        wait_until_ready(api_url, service.has_ended, lambda: supervisor.read(0.2))
    except ServiceUnavailable:
        for line in lines:
            tell(service.name, line)
        raise
    finally:
        supervisor.tell, supervisor.repeated = tell, RepeatedLines()


def start_work(supervisor: Supervisor, settings: Settings, api_url: str) -> None:
    """Start the worker, the monitor, and the bot where Telegram is configured."""
    own = {"PREFECT_API_URL": api_url, "PYTHONUNBUFFERED": "1"}
    environment = WORKER_SETTINGS | client_environment(os.environ) | own
    program = [sys.executable, "-m", "hybrid_ml.cli"]
    worker = [*program, "worker", "--name", socket.gethostname()]  # the same after each start
    supervisor.start(SupervisedProcess("worker", worker, environment, WORKER_STOP_SECONDS))
    if settings.telegram_configured:
        supervisor.start(SupervisedProcess("bot", [*program, "bot"], environment, has_channel=True))
    supervisor.start(SupervisedProcess(MONITOR, [*program, "monitor"], environment, has_channel=True))
    out.print(
        "worker     started"
        + (", and the bot" if settings.telegram_configured else f"; no bot: {settings.missing_telegram_settings}")
    )


def add_symbols(request: AddSymbolsRequest, settings: Settings) -> "AddedSymbols":
    """Start the run that adds what is new of the symbols a person named."""
    from deployments.service.added_symbols import AddedSymbols

    return AddedSymbols(request, settings, tell)


def supervise(
    supervisor: Supervisor,
    api_url: str,
    data_dir: Path | None,
    silence_seconds: float,
    stop: Stop,
    added: "AddedSymbols | None",
) -> None:
    """Print the output of services, restart those that end and replace those that are not ready, until interrupted.

    `data_dir`: the folder of the embedded PostgreSQL, if it is needed.
    """
    from httpx import HTTPError
    from prefect.exceptions import PrefectException

    from deployments.service.watch import Watch
    from deployments.status.collect import are_ready, format_next_runs_line

    end = time.monotonic() + READY_SECONDS
    try:
        while not are_ready() and time.monotonic() < end:
            supervisor.watch()
        for line in format_next_runs_line():
            out.print(line)
    except (HTTPError, PrefectException) as error:  # any error of the server: it is kept running
        tell("server", f"the next runs cannot be read: {error!r}")
    out.print("Ctrl-C stops all of it. The output of the services follows.")
    watch = Watch(supervisor, api_url, data_dir, silence_seconds, tell)
    while True:
        supervisor.watch()
        watch.check()
        if added is not None:
            added.check()
        stop.check()


def tell(name: str, line: str) -> None:
    """One line of a service on the terminal."""
    out.print(f"{name:<8} | {line}", markup=False, highlight=False)


def tell_without_server(name: str, line: str) -> None:
    """The same without the server, which logs an error for every connection that closes."""
    if name != "server":
        tell(name, line)


def ui_url(api_url: str) -> str:
    """The address of the UI for a person."""
    return api_url.removesuffix("/").removesuffix("/api")
