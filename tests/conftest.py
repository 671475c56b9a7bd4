"""A real PostgreSQL for the whole session, a fresh database for each test that asks, no user settings."""

import atexit
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import settings
from sqlalchemy import Engine
from xdist.scheduler import LoadScopeScheduling

# Before anything of the project or of Prefect reads it: the tests see nobody's .env, server or profile.
ROOT = Path(__file__).resolve().parents[1]
WORK = Path(tempfile.mkdtemp(prefix="hybrid-ml-tests-"))
atexit.register(shutil.rmtree, WORK, ignore_errors=True)  # last of all: the database stops before
for name in [name for name in os.environ if name.startswith(("PREFECT_", "HYBRID_ML_", "TELEGRAM_"))]:
    del os.environ[name]
# Who starts the tests in the background of a script has Ctrl-C ignored, and every command they start inherits that.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)
os.environ.update(
    {
        "NEON_CONN_STR": "",
        "TELEGRAM_BOT_TOKEN": "",
        "TELEGRAM_CHAT_ID": "",
        "TELEGRAM_CHATS": "",
        "TELEGRAM_BASE_URL": "",
        "HYBRID_ML_SYMBOLS": "",
        "HYBRID_ML_DATA_DIR": str(WORK),
        "HYBRID_ML_MODELS_DIR": str(WORK / "models"),
        "HYBRID_ML_MAX_GAP_MINUTES": "30",
        "HYBRID_ML_NUM_THREADS": "2",
        "PREFECT_HOME": str(WORK / "prefect"),
        "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
        # Threads that wait for others must not keep a core busy that the other test processes need.
        "OMP_WAIT_POLICY": "passive",
    }
)

from hybrid_ml.config.settings import load_settings  # noqa: E402
from hybrid_ml.store.embedded import (  # noqa: E402  # after the environment is clean
    administrator_address,
    for_asyncpg,
    start_embedded,
)
from hybrid_ml.store.engine import connect_only, migrate, open_engine  # noqa: E402
from tests.databases import database, let_every_role_in, make_quick  # noqa: E402
from tests.faults.table import TABLE  # noqa: E402
from tests.ports import free_port  # noqa: E402

if TYPE_CHECKING:
    from tests.up import Up

settings.register_profile("repeatable", derandomize=True, max_examples=25, deadline=None, database=None)
settings.load_profile("repeatable")


TOGETHER = {
    "tests/operating/test_illness.py": "illness",
    "tests/operating/test_trouble.py": "trouble",
    "tests/operating/": "up",
    "tests/browser/": "up",
}
"""Tests below these paths share a process, because they share a `hybrid-ml up`. The first path that fits counts."""


class TogetherScheduling(LoadScopeScheduling):
    """Tests go to whichever process is free, but for those that stay together."""

    def _split_scope(self, nodeid: str) -> str:
        return next((group for path, group in TOGETHER.items() if nodeid.startswith(path)), nodeid)


def pytest_xdist_make_scheduler(config: pytest.Config, log: object) -> TogetherScheduling:
    return TogetherScheduling(config, log)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Tests that mostly sleep come first, so that the others go on beside them."""
    items.sort(key=lambda item: not item.nodeid.startswith("tests/pauses/"))


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    TABLE.take(report)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    TABLE.print(terminalreporter)


@pytest.fixture(scope="session")
def server() -> str:
    """The superuser's address on a real PostgreSQL that lives as long as the session."""
    start_embedded(WORK)
    address = administrator_address(WORK)
    let_every_role_in(WORK / "postgres")
    make_quick(address)
    return address


@pytest.fixture
def address(server: str) -> Iterator[str]:
    """Address of an empty database."""
    with database(server) as address:
        yield address


@pytest.fixture(scope="session")
def migrated(server: str) -> Iterator[str]:
    """Address of a database with the schema and no rows, to be copied: quicker than migrating each anew."""
    with database(server) as address:
        with pytest.MonkeyPatch.context() as patch:  # for no longer than this: the fixture lives to the end
            patch.setenv("NEON_CONN_STR", address)
            engine = connect_only(load_settings())
            migrate(engine)
            engine.dispose()  # nothing may be connected to what is copied
        yield address


@pytest.fixture
def home(server: str, migrated: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """An installation of its own: a migrated database behind NEON_CONN_STR and an empty models folder."""
    with database(server, template=migrated) as address:
        monkeypatch.setenv("NEON_CONN_STR", address)
        monkeypatch.setenv("HYBRID_ML_MODELS_DIR", str(tmp_path / "models"))
        yield tmp_path


@pytest.fixture
def engine(home: Path) -> Engine:
    """The engine of `home`'s database."""
    return open_engine(load_settings())


@pytest.fixture(scope="session")
def prefect_api(server: str) -> Iterator[str]:
    """A real Prefect server with its own database, for flows in this process and for commands."""
    port = free_port()
    url = f"http://127.0.0.1:{port}/api"
    address = for_asyncpg(start_embedded(WORK, "prefect", ("pg_trgm",)))
    environment = {
        **os.environ,
        "PREFECT_SERVER_SERVICES_SCHEDULER_LOOP_SECONDS": "2",
        "PREFECT_SERVER_DATABASE_CONNECTION_URL": address,
        "PREFECT_SERVER_DATABASE_TIMEOUT": "120",
        "PREFECT_SERVER_DATABASE_CONNECTION_TIMEOUT": "60",
    }
    log = (WORK / "prefect-server.log").open("w")
    command = [sys.executable, "-m", "prefect", "server", "start", "--host", "127.0.0.1", "--port", str(port)]
    process = subprocess.Popen(command, env=environment, stdout=log, stderr=log)
    try:
        _wait_until_healthy(url, process)
        from prefect.logging.handlers import APILogWorker
        from prefect.settings import PREFECT_API_URL, PREFECT_FLOWS_HEARTBEAT_FREQUENCY, temporary_settings

        with temporary_settings({PREFECT_API_URL: url, PREFECT_FLOWS_HEARTBEAT_FREQUENCY: None}):
            yield url
            APILogWorker.instance().drain()  # while there is still a server to tell
    finally:
        process.terminate()
        try:
            process.wait(30)
        except subprocess.TimeoutExpired:  # on a busy machine; its data goes with the session's folder
            process.kill()
            process.wait()
        log.close()


def _wait_until_healthy(url: str, process: subprocess.Popen, seconds: float = 600) -> None:
    end = time.monotonic() + seconds
    while time.monotonic() < end and process.poll() is None:
        try:
            with urllib.request.urlopen(f"{url}/health", timeout=2) as answer:
                if answer.status == 200:
                    return
        except OSError:
            time.sleep(0.2)
    raise RuntimeError(f"the Prefect server did not start: {(WORK / 'prefect-server.log').read_text()[-2000:]}")


@pytest.fixture(scope="session")
def up(tmp_path_factory: pytest.TempPathFactory) -> Iterator["Up"]:
    """`hybrid-ml up` as a user starts it, for the whole session; see TOGETHER."""
    from tests.up import everything_up

    # What is older than its retention goes within seconds instead of an hour.
    with everything_up(tmp_path_factory.mktemp("up"), PREFECT_SERVER_SERVICES_DB_VACUUM_LOOP_SECONDS="5") as running:
        yield running


WITHOUT_HEARTBEATS = {"PREFECT_FLOWS": '{"heartbeat_frequency": null}'}
"""A synchronous flow that sends heartbeats ends a second late: Prefect waits for the thread that sends them.

PREFECT_FLOWS_HEARTBEAT_FREQUENCY takes numbers only, and PREFECT_FLOWS overrides it: not for tests of heartbeats.
"""

Command = Callable[..., subprocess.CompletedProcess]


@pytest.fixture
def command(home: Path, prefect_api: str) -> Command:
    """Run one of the project's commands as a user would, in a process of its own."""

    def run(*arguments: str, **environment: str) -> subprocess.CompletedProcess:
        program = [sys.executable, *arguments] if arguments[0].endswith(".py") or arguments[0] == "-c" else None
        return subprocess.run(
            program or [str(Path(sys.executable).with_name("hybrid-ml")), *arguments],
            cwd=ROOT,
            env={**os.environ, "PREFECT_API_URL": prefect_api, **WITHOUT_HEARTBEATS, **environment},
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )

    return run
