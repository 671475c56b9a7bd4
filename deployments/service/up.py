"""`hybrid-ml up`: what is missing starts, the server is set up, and all of it is kept going until Ctrl-C."""

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
from deployments.service.supervisor import Service, Supervisor
from deployments.service.worker import WORKER_SETTINGS
from hybrid_ml.config.overrides import set_overrides
from hybrid_ml.config.settings import DEFAULT, ENV_FILE, ENVIRONMENT, Settings, load_settings
from hybrid_ml.console.terminal import out
from hybrid_ml.errors import BadInput, ConfigurationUnreachable, HybridMLError, ServiceUnavailable
from hybrid_ml.store.embedded import start_embedded
from hybrid_ml.store.engine import check_stated_database, connect_only, migrate, shown

READY_SECONDS = 30.0
"""How long the worker is given to ask for work for the first time, which makes the deployments READY."""
SETTINGS_SECONDS = 60.0
"""How long a server that has just started may take to hand out its blocks."""
GIVEN_SERVER_SECONDS = 10.0
"""How long a server that should be there already is given to answer."""
INTERRUPT_SECONDS = 2.0
WORKER_STOP_SECONDS = 30.0
"""A run that is under way may finish; what takes longer is ended, and says so in its state."""


@dataclass
class Stop:
    """Whether a person asked to stop, and whether for a second time."""

    asked_at: float | None = None
    """Seconds of a monotonic clock."""
    is_stopping: bool = False
    hurried: bool = False

    def __call__(self, number: int, _: object = None) -> None:
        """Handle a signal: interrupt what goes on, and once that has stopped it, hurry.

        A closed terminal may say so twice, by its shell and by the kernel: that is no hurry. An interrupt gets
        INTERRUPT_SECONDS before the next one, which it needs where a library caught the first and went on.
        """
        if number == signal.SIGHUP:
            signal.signal(signal.SIGHUP, signal.SIG_IGN)
        if self.is_stopping:
            self.hurried = True
            out.print("stopping at once")
        elif self.asked_at is None or time.monotonic() - self.asked_at > INTERRUPT_SECONDS:
            self.asked_at = time.monotonic()
            raise KeyboardInterrupt

    def check(self) -> None:
        """Raise KeyboardInterrupt where it was raised before, and lost in a library that catches everything."""
        if self.asked_at is not None:
            raise KeyboardInterrupt


def up(host: str, port: int) -> None:
    """Start what is missing and keep it going. Raises HybridMLError where something cannot be."""
    ignore_broken_pipes()
    found = running()
    if found:
        out.print(f"it is up already, since {found['started_at']}, process {found['pid']}: {found['ui_url']}")
        return
    own_url = f"http://{reached_at(host)}:{port}/api"
    given = named_server(own_url)
    api_url = given or own_url
    about = {"pid": os.getpid(), "api_url": api_url, "ui_url": ui_url(api_url), "own_server": not given}
    supervisor, stop = Supervisor(tell), Stop()
    started = {"started_at": f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC"}
    with mark_running(about | started) as ours:
        if not ours:
            raise BadInput("another `hybrid-ml up` is just starting on this data folder; see `hybrid-ml status`")
        with stopping(supervisor, stop):
            settings = load_settings()
            check_stated_database(settings)
            authentication = "" if given else own_authentication(settings.data_dir)
            data_dir, embedded = settings.data_dir, settings.uses_embedded_database or not given
            if embedded:
                start_embedded(data_dir)  # the project's data where no other database is named, and Prefect's own
            if given:
                join_server(api_url)
            else:
                start_server(supervisor, settings, (host, port), authentication)
            set_up_server(api_url)
            settings = take_settings()
            open_database(settings)
            start_work(supervisor, settings, api_url)
            stop.check()
            keep_going(supervisor, api_url, data_dir if embedded else None, settings.hybrid_ml_silence_seconds, stop)


@contextmanager
def stopping(supervisor: Supervisor, stop: Stop) -> Iterator[None]:
    """Until Ctrl-C or SIGTERM, or until something fails; then all services stop, however often it is pressed."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        if number != signal.SIGHUP or signal.getsignal(number) != signal.SIG_IGN:  # nohup has its way
            signal.signal(number, stop)
    try:
        yield
    except KeyboardInterrupt:
        stop.is_stopping = True
        out.print("\nstopping; what is under way may finish (Ctrl-C again: at once)")
    finally:
        stop.is_stopping, supervisor.tell = True, tell_at_the_end
        supervisor.stop(lambda: stop.hurried)
        out.print("stopped")


def named_server(own_url: str) -> str | None:
    """The server that the environment or Prefect's profile names, where it is not the one we would start."""
    from prefect.settings import get_current_settings

    named = os.environ.get("PREFECT_API_URL") or get_current_settings().api.url
    return None if named == own_url and not os.environ.get("PREFECT_API_URL") else named


def own_authentication(data_dir: Path) -> str:
    """The string that a server of our own asks for; one that Prefect's settings state wins over the kept one."""
    from prefect.settings import get_current_settings

    stated = get_current_settings().server.api.auth_string
    return keep_authentication(data_dir, stated.get_secret_value() if stated else "")


def join_server(api_url: str) -> None:
    """Wait for the server that PREFECT_API_URL or Prefect's profile names."""
    use_server(api_url)
    wait_until_ready(api_url, lambda: False, lambda: time.sleep(0.2), GIVEN_SERVER_SECONDS)


def start_server(supervisor: Supervisor, settings: Settings, own: tuple[str, int], authentication: str) -> None:
    """Start a server of our own on `own`, host and port, and say how a person gets in."""
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
    """Have this process and what it starts speak to the server at `api_url`."""
    from prefect.context import refresh_global_settings_context

    os.environ["PREFECT_API_URL"] = api_url
    refresh_global_settings_context()


def set_up_server(api_url: str) -> None:
    """All that the server must know."""
    from deployments.provision.deploy import set_up  # with the server's address in the environment

    out.print(f"server     {ui_url(api_url)}")
    for line in set_up():
        out.print(f"set up     {line}")


def show_how_to_sign_in(data_dir: Path, api_url: str, host: str) -> None:
    """How a person gets in; the string itself is not shown."""
    out.print("           `hybrid-ml ui` opens it signed in; for Prefect's own commands:")
    out.print(f"           {export_line(api_url, authentication_file(data_dir))}", soft_wrap=True, markup=False)
    if not is_loopback(host):
        tell("server", "listens beyond this machine without TLS: put a proxy with TLS before it, or use an SSH tunnel")


def take_settings() -> Settings:
    """The settings, the UI's among them. What cannot be used there is told; it is mended there, so the UI stays up."""
    from tasks.configuration import take_configuration_outside

    end = time.monotonic() + SETTINGS_SECONDS
    while True:
        try:
            take_configuration_outside()
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
    """Bring the database in use to the newest schema; where a block names it, one that cannot be used is told."""
    try:
        engine = connect_only(settings)
        revision = migrate(engine)
    except HybridMLError as error:
        if settings.origin("neon_conn_str") in (ENVIRONMENT, ENV_FILE, DEFAULT):
            raise
        tell("database", str(error))
    else:
        out.print(f"database   {shown(engine)}, schema {revision}")


def start_own_server(supervisor: Supervisor, service: Service, api_url: str) -> None:
    """Start it; what it says meanwhile is told only if it does not come up."""
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
    """The worker, and the bot where Telegram is set up."""
    own = {"PREFECT_API_URL": api_url, "PYTHONUNBUFFERED": "1"}
    environment = WORKER_SETTINGS | client_environment(os.environ) | own
    program = [sys.executable, "-m", "hybrid_ml.cli"]
    worker = [*program, "worker", "--name", socket.gethostname()]  # the same after each start
    supervisor.start(Service("worker", worker, environment, WORKER_STOP_SECONDS))
    if settings.telegram_configured:
        supervisor.start(Service("bot", [*program, "bot"], environment, has_channel=True))
    supervisor.start(Service(MONITOR, [*program, "monitor"], environment, has_channel=True))
    out.print(
        "worker     started"
        + (", and the bot" if settings.telegram_configured else f"; no bot: {settings.missing_telegram_settings}")
    )


def keep_going(supervisor: Supervisor, api_url: str, data_dir: Path | None, silence_seconds: float, stop: Stop) -> None:
    """Tell what the services say, start again what ends and replace what stays silent, until interrupted.

    `data_dir`: where the embedded PostgreSQL is, if it is needed.
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
    except (HTTPError, PrefectException) as error:  # whatever the server says instead, it is kept going
        tell("server", f"does not tell the next runs: {error!r}")
    out.print("Ctrl-C stops all of it. What follows is what the services say.")
    watch = Watch(supervisor, api_url, data_dir, silence_seconds, tell)
    while True:
        supervisor.watch()
        watch.look()
        stop.check()


def tell(name: str, line: str) -> None:
    """One line of a service on the terminal."""
    out.print(f"{name:<8} | {line}", markup=False, highlight=False)


def tell_at_the_end(name: str, line: str) -> None:
    """The same, but the server complains at length that those it serves hang up."""
    if name != "server":
        tell(name, line)


def ui_url(api_url: str) -> str:
    """Where a person looks."""
    return api_url.removesuffix("/").removesuffix("/api")
