"""A real PostgreSQL for the whole session, a fresh database for each test that needs one, no user settings."""

import atexit
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import certifi
import pytest
from hypothesis import settings
from sqlalchemy import Engine
from xdist.scheduler import LoadScopeScheduling

# Set before the project or Prefect reads it: the tests use no .env file, server or profile of the user.
ROOT = Path(__file__).resolve().parents[1]
WORK = Path(tempfile.mkdtemp(prefix="hybrid-ml-tests-"))
SESSION = Path(os.environ.setdefault("TEST_SESSION_FOLDER", str(WORK)))
"""WORK of the process that started all test processes, which share the Prefect server there."""
atexit.register(shutil.rmtree, WORK, ignore_errors=True)  # runs last, after the database has stopped
for name in [name for name in os.environ if name.startswith(("PREFECT_", "HYBRID_ML_", "TELEGRAM_"))]:
    del os.environ[name]
# In the background of a script Ctrl-C is ignored, and every command that the tests start would inherit that.
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
        "HYBRID_ML_NUM_THREADS": "1",
        "PREFECT_HOME": str(WORK / "prefect"),
        "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
        # Waiting threads must not keep a core busy that the other test processes need.
        "OMP_WAIT_POLICY": "passive",
        # Each client reads all trusted authorities, which takes 20 ms; no test talks to a server that needs one.
        "SSL_CERT_FILE": str(WORK / "authority.pem"),
    }
)
END = "-----END CERTIFICATE-----\n"
(WORK / "authority.pem").write_text(Path(certifi.where()).read_text().partition(END)[0] + END)

from hybrid_ml.config.settings import load_settings  # noqa: E402
from hybrid_ml.store.embedded import administrator_address, start_embedded  # noqa: E402
from hybrid_ml.store.engine import connect_only, migrate, open_engine  # noqa: E402
from tests.databases import allow_every_role, database, disable_fsync  # noqa: E402
from tests.faults.table import TABLE  # noqa: E402
from tests.prefect_server import own_server, shared_server, stop_shared_server  # noqa: E402

settings.register_profile("repeatable", derandomize=True, max_examples=25, deadline=None, database=None)
settings.load_profile("repeatable")


TOGETHER = {
    "tests/operating/test_illness.py": "illness",
    "tests/operating/test_trouble.py": "trouble",
    "tests/operating/test_live_bars.py": "live bars",
    "tests/operating/test_stop.py": "stop",
    "tests/operating/": "up",
    "tests/faults/test_kill.py": "faults",
    "tests/faults/test_machine.py": "faults",
    "tests/faults/test_model_files.py": "faults",
    "tests/faults/test_windows.py": "faults",
    "tests/commands/test_configuration.py": "own server",
    "tests/commands/test_monitor.py": "own server",
    "tests/flows/test_configuration.py": "own server",
    "tests/flows/test_replay_": "replay",
}
"""Tests below these paths share a process, because they share a `hybrid-ml up`, a trained installation, a finished
replay, or a Prefect server whose blocks or runs they change. The first matching path counts."""


FEW_TREES = ("tests/flows/", "tests/faults/")


class TogetherScheduling(LoadScopeScheduling):
    """Tests go to any free process, except the groups of TOGETHER, which share one."""

    def _split_scope(self, nodeid: str) -> str:
        return next((group for path, group in TOGETHER.items() if nodeid.startswith(path)), nodeid)


def pytest_xdist_make_scheduler(config: pytest.Config, log: object) -> TogetherScheduling:
    return TogetherScheduling(config, log)


def pytest_unconfigure() -> None:
    if SESSION == WORK:
        stop_shared_server(SESSION)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Tests that mostly sleep come first, so that others run in parallel with them."""
    items.sort(key=lambda item: not item.nodeid.startswith("tests/pauses/"))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item: pytest.Item) -> Iterator[None]:
    """Tests of FEW_TREES train a fifth of the trees, their fixtures too: none is about how good a model is."""
    if not item.nodeid.startswith(FEW_TREES):
        return (yield)
    from tests.flows.running import BOOSTING_ROUNDS

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("hybrid_ml.learning.training.BOOSTING_ROUNDS", BOOSTING_ROUNDS)
        return (yield)


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    TABLE.add_report(report)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    TABLE.print(terminalreporter)


@pytest.fixture(scope="session")
def server() -> str:
    """The superuser's address of a real PostgreSQL that runs for the whole session."""
    start_embedded(WORK)
    address = administrator_address(WORK)
    allow_every_role(WORK / "postgres")
    disable_fsync(address)
    return address


@pytest.fixture
def address(server: str) -> Iterator[str]:
    """Address of an empty database."""
    with database(server) as address:
        yield address


@pytest.fixture(scope="session")
def migrated(server: str) -> Iterator[str]:
    """Address of a database with the schema and no rows, used as a template: copying is faster than migrating again."""
    with database(server) as address:
        with pytest.MonkeyPatch.context() as patch:  # undone here: the fixture lasts for the whole session
            patch.setenv("NEON_CONN_STR", address)
            engine = connect_only(load_settings())
            migrate(engine)
            engine.dispose()  # a database can be copied only while nothing is connected to it
        yield address


@pytest.fixture
def home(server: str, migrated: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A separate installation: a migrated database in NEON_CONN_STR and an empty models folder."""
    with database(server, template=migrated) as address:
        monkeypatch.setenv("NEON_CONN_STR", address)
        monkeypatch.setenv("HYBRID_ML_MODELS_DIR", str(tmp_path / "models"))
        yield tmp_path


@pytest.fixture
def engine(home: Path) -> Engine:
    """The engine of `home`'s database."""
    return open_engine(load_settings())


@pytest.fixture(scope="session")
def prefect_api() -> Iterator[str]:
    """The API address of the session's Prefect server, for flows in this process and for commands."""
    with flows_report_to(shared_server(SESSION)) as url:
        yield url


@pytest.fixture(scope="session")
def own_prefect_server(server: str) -> Iterator[str]:
    """The API address of a Prefect server that only this process uses; see TOGETHER."""
    with own_server(WORK) as url:
        yield url


@pytest.fixture(scope="module")
def own_prefect_api(own_prefect_server: str, prefect_api: str) -> Iterator[str]:
    """Flows of this module and its commands use the server of this process instead of the session's."""
    with flows_report_to(own_prefect_server) as url:
        yield url


@contextmanager
def flows_report_to(url: str) -> Iterator[str]:
    """Within the block, flows of this process report to the server at `url`, without heartbeats."""
    from prefect.logging.handlers import APILogWorker
    from prefect.settings import PREFECT_API_URL, PREFECT_FLOWS_HEARTBEAT_FREQUENCY, temporary_settings

    with temporary_settings({PREFECT_API_URL: url, PREFECT_FLOWS_HEARTBEAT_FREQUENCY: None}):
        yield url
        APILogWorker.instance().drain()  # while the server still answers


WITHOUT_BLOCKS = {"HYBRID_ML_BLOCKS": "false"}
"""A command waits five seconds for a server's blocks; a busy machine may need longer."""
WITHOUT_HEARTBEATS = {"PREFECT_FLOWS": '{"heartbeat_frequency": null}'}
"""A synchronous flow that sends heartbeats ends a second late: Prefect waits for the thread that sends them.

PREFECT_FLOWS_HEARTBEAT_FREQUENCY takes numbers only, and PREFECT_FLOWS overrides it: not for tests of heartbeats.
"""

Command = Callable[..., subprocess.CompletedProcess]


@pytest.fixture
def command(home: Path, prefect_api: str) -> Command:
    """Run one of the project's commands as a user would, in a separate process."""
    from prefect.settings import PREFECT_API_URL

    def run(*arguments: str, **environment: str) -> subprocess.CompletedProcess:
        test_environment = {"PREFECT_API_URL": PREFECT_API_URL.value(), **WITHOUT_BLOCKS, **WITHOUT_HEARTBEATS}
        program = [sys.executable, *arguments] if arguments[0].endswith(".py") or arguments[0] == "-c" else None
        return subprocess.run(
            program or [str(Path(sys.executable).with_name("hybrid-ml")), *arguments],
            cwd=ROOT,
            env=os.environ | test_environment | environment,
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )

    return run
