"""Parts that are ill are replaced, and people hear of what that does not cure; with a data folder on a small disk."""

import os
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import psutil
import psycopg2
import pytest

from hybrid_ml.health.state_file import read_state
from hybrid_ml.store.embedded import administrator_address, start_embedded
from tests.databases import administrate
from tests.faults.conftest import faults
from tests.faults.table import FaultRows
from tests.hooks import Hooks, hooks
from tests.telegram_api import TOKEN, BotApi
from tests.telegram_server import bot_api
from tests.up import AWAKE, SERVER, Up, everything_up, runs_every, wait_for

__all__ = ["faults"]

SILENCE_SECONDS = 10
DISK_MEGABYTES, LEAST_MEGABYTES = 600, 60
AGAIN_SECONDS = 240.0
"""Until something is back on a crowded machine."""


@dataclass
class Illness:
    """A running `hybrid-ml up`, and whoever hears of its troubles."""

    up: Up
    api: BotApi
    hooks: Hooks

    def texts(self) -> list[str]:
        """What the chat was told, alerts aside."""
        return [text for message in self.api.messages if (text := message.get("text", "")).startswith(("⚠", "✓"))]

    def wait_for_text(self, words: str, since: int = 0) -> str:
        """A message with `words` among those from number `since` on."""
        found = lambda: next((text for text in self.texts()[since:] if words in text), None)  # noqa: E731
        return wait_for(words, found, AGAIN_SECONDS)

    def is_ready(self) -> bool:
        with suppress(Exception), self.up.client() as client:
            return client.request("GET", "/ready").status_code == 200
        return False

    def wait_until_well(self) -> None:
        wait_for("a server that is ready", self.is_ready, AGAIN_SECONDS)
        wait_for("nothing open", lambda: not self._opened(), AGAIN_SECONDS)

    def _opened(self) -> list:
        state = read_state(self.up.data_dir)
        return state.opened if state else ["unknown"]


@pytest.fixture(scope="module")
def ill(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Illness]:
    folder = tmp_path_factory.mktemp("ill")
    with small_disk(folder / "data"), bot_api() as api, hooks() as came:
        more = {
            "HYBRID_ML_SILENCE_SECONDS": str(SILENCE_SECONDS),
            "HYBRID_ML_HEALTH_PATIENCE_SECONDS": "90",
            "HYBRID_ML_HEALTH_WEBHOOK_URL": f"{came.url}/webhook",
            "HYBRID_ML_HEARTBEAT_URL": f"{came.url}/ping/1234",
            "HYBRID_ML_MIN_FREE_MB": str(LEAST_MEGABYTES),
            "PREFECT_WORKER_HEARTBEAT_SECONDS": "3",
            "TELEGRAM_BASE_URL": api.base_url,
            "TELEGRAM_BOT_TOKEN": TOKEN,
            "TELEGRAM_CHAT_ID": "42",
        }
        try:
            with everything_up(folder, **more) as running:
                yield Illness(running, api, came)
        finally:
            end_postgres(folder)


def end_postgres(folder: Path) -> None:
    """This process joined the PostgreSQL below `folder`, whose files are gone: at its end it could not stop it."""
    for process in psutil.process_iter():
        with suppress(psutil.Error):
            if process.name() == "postgres" and str(folder / "data") in " ".join(process.cmdline()):
                process.send_signal(signal.SIGQUIT)
                process.wait(30)


@contextmanager
def small_disk(folder: Path) -> Iterator[None]:
    """A disk of its own at `folder` where this user may mount one (root, or sudo without a password)."""
    folder.mkdir()
    sudo = [] if os.geteuid() == 0 else ["sudo", "--non-interactive"]
    options = f"size={DISK_MEGABYTES}m,mode=0755,uid={os.geteuid()},gid={os.getegid()}"
    subprocess.run([*sudo, "mount", "-t", "tmpfs", "-o", options, "tmpfs", folder], check=True)
    try:
        yield
    finally:
        subprocess.run([*sudo, "umount", "--lazy", folder], check=True)


def test_a_good_slot_is_told_to_the_heartbeat_url_and_a_bad_one_as_failed(ill: Illness, faults: FaultRows) -> None:
    up = ill.up
    up.wait_for_our_turn(200)
    with runs_every(up):
        good = up.ended(up.due_soon())
    assert good.state.type.value == "COMPLETED", good.state
    wait_for("the heartbeat", lambda: "/ping/1234" in ill.hooks.paths)
    with runs_every(up, **AWAKE, symbols=["NOWHERE"]):
        bad = up.ended(up.due_soon())
    assert bad.state.type.value == "FAILED", bad.state
    text = ill.wait_for_text("the run of analysis")
    assert "ended Failed" in text
    wait_for("the failure", lambda: "/ping/1234/fail" in ill.hooks.paths)
    with runs_every(up):
        up.ended(up.due_soon())
    over = ill.wait_for_text("over after")
    wait_for("the heartbeat", lambda: ill.hooks.paths[-1] == "/ping/1234")
    of_runs = [body["event"] for body in ill.hooks.bodies if body["problem"] == "runs of analysis"]
    assert of_runs == ["begun", "over"]
    faults.add("a slot fails, the next one does not", f"{text.splitlines()[0][:60]}… / {over[:30]}…", 0.0)


def test_all_of_it_stopped_for_longer_than_a_part_may_be_silent_is_no_illness(ill: Illness) -> None:
    supervisor = psutil.Process(ill.up.process.pid)
    parts, services = [supervisor, *supervisor.children(recursive=True)], supervisor.children()
    postgres = [process for process in psutil.process_iter() if _is_below(process, ill.up.data_dir)]
    text, lines = len(ill.texts()), len(ill.up.log.read_text())
    for process in [*parts, *postgres]:
        with suppress(psutil.NoSuchProcess):  # a run's process that was at its end
            process.suspend()
    time.sleep(3 * SILENCE_SECONDS)
    resumed = datetime.now(UTC)
    for process in [*postgres, *parts]:
        with suppress(psutil.NoSuchProcess):
            process.resume()
    time.sleep(2 * SILENCE_SECONDS)
    wait_for("a look of the monitor", lambda: (state := read_state(ill.up.data_dir)) and state.as_of > resumed)
    assert [service.pid for service in supervisor.children()] == [service.pid for service in services]
    message = ill.up.log.read_text()[lines:]
    assert "not ready" not in message
    assert "has ended" not in message
    assert ill.texts()[text:] == []


def _is_below(process: psutil.Process, folder: Path) -> bool:
    with suppress(psutil.Error):
        return process.name() == "postgres" and process.cwd().startswith(str(folder))
    return False


def test_parts_that_hang_are_replaced(ill: Illness, faults: FaultRows) -> None:
    """Server, worker and bot are stopped and stay so: their processes live, and nothing is heard of them."""
    hung = [ill.up.child(words) for words in (SERVER, "hybrid_ml.cli worker", "hybrid_ml.cli bot")]
    text, started = len(ill.texts()), time.monotonic()
    for process in hung:
        process.suspend()
    for name in ("server", "worker", "bot"):
        wait_for(f"another {name}", lambda name=name: _replaced(ill.up, name), AGAIN_SECONDS)
    for process in hung:
        process.wait(30)
    ill.wait_until_well()
    seconds = time.monotonic() - started
    assert ill.up.ended(ill.up.trigger(**AWAKE)).state.type.value == "COMPLETED"
    assert ill.texts()[text:] == [], "what was cured in time is nobody's business"
    faults.add("server, worker and bot hang for good", "each replaced, no report, the next run works", seconds)


def _replaced(up: Up, name: str) -> bool:
    lines = [line for line in up.log.read_text().splitlines() if line.startswith(f"{name} ")]
    return any("it is replaced" in line for line in lines) and any("SIGKILL" in line for line in lines)


def test_a_postgresql_that_hangs_is_replaced(ill: Illness, faults: FaultRows) -> None:
    pid = int((ill.up.data_dir / "postgres" / "postmaster.pid").read_text().split()[0])
    started = time.monotonic()
    psutil.Process(pid).suspend()
    wait_for("the end of it", lambda: not psutil.pid_exists(pid), AGAIN_SECONDS)
    ill.wait_until_well()
    faults.add("PostgreSQL hangs for good", "replaced; what was committed is there", time.monotonic() - started)
    assert ill.up.ended(ill.up.trigger(**AWAKE)).state.type.value == "COMPLETED"


def test_a_server_whose_database_was_dropped_gets_it_again(ill: Illness, faults: FaultRows) -> None:
    started = time.monotonic()
    start_embedded(ill.up.data_dir)
    administrate(administrator_address(ill.up.data_dir), "DROP DATABASE prefect WITH (FORCE)")
    wait_for("the database", lambda: "made again, empty" in ill.up.log.read_text(), AGAIN_SECONDS)
    ill.wait_until_well()
    assert ill.up.ended(ill.up.trigger(**AWAKE), AGAIN_SECONDS).state.type.value == "COMPLETED"
    faults.add(
        "the server's database is dropped", "made again and set up; the next run works", time.monotonic() - started
    )


def test_what_three_restarts_do_not_cure_is_told_plainly_with_the_remedy(ill: Illness, faults: FaultRows) -> None:
    """The server is killed whenever it starts, until people have heard of it."""
    message, words = len(ill.texts()), "server is not ready"

    def killed_and_reported() -> str | None:
        for server in ill.up.children(SERVER):
            server.kill()
        return next((text for text in ill.texts()[message:] if words in text), None)

    report = wait_for(words, killed_and_reported, AGAIN_SECONDS)
    assert "SIGKILL" in report
    assert f"3 restarts in vain: {words}" in ill.up.log.read_text()
    ill.wait_for_text("over after", message)
    ill.wait_until_well()
    assert len([text for text in ill.texts()[message:] if words in text]) == 2
    faults.add("the server ends whenever it starts", report.splitlines()[0], 0.0)


def test_a_full_disk_is_told_once_and_its_lines_are_counted(ill: Illness, faults: FaultRows) -> None:
    message, printed = len(ill.texts()), len(ill.up.log.read_text().splitlines())
    filling = ill.up.data_dir / "filling"
    with filling.open("wb", buffering=0) as file, suppress(OSError):
        while True:
            file.write(bytes(1_000_000))
    text = ill.wait_for_text("MB free, less than 60 MB", message)
    time.sleep(75)  # longer than a window of repeated lines
    lines = ill.up.log.read_text().splitlines()[printed:]
    filling.unlink()
    ill.wait_for_text("over after", message)
    ill.wait_until_well()
    assert len([text for text in ill.texts()[message:] if "MB free" in text]) == 2
    assert len(lines) < 3_000, len(lines)
    assert ill.up.ended(ill.up.trigger(**AWAKE), AGAIN_SECONDS).state.type.value == "COMPLETED"
    summary = ill.up.log.read_text().splitlines()[printed:]
    counted = next(line for line in summary if "more like this" in line)
    faults.add("the disk is full for 75 s", f"{text.splitlines()[0][:80]}…; {len(lines)} lines, {counted}", 0.0)


def test_the_embedded_postgresql_holds_what_it_held(ill: Illness) -> None:
    """After all of that."""
    with closing(psycopg2.connect(start_embedded(ill.up.data_dir))) as connection, connection.cursor() as cursor:
        cursor.execute("SELECT count(*) FROM bars")
        assert cursor.fetchone() == (9_000,)


def test_repeated_lines_are_counted_without_losing_those_that_differ() -> None:
    from deployments.service.lines import RepeatedLines

    repeated = RepeatedLines(60)
    printed = [n for n in range(41_000) if repeated.is_new("server", b"error %d: disk full" % n, n / 1_000)]
    assert printed == [0, 1, 2]
    assert repeated.is_new("server", b"another line", 41)
    assert repeated.is_new("worker", b"error 7: disk full", 41)
    assert repeated.summaries(59) == []
    assert repeated.summaries(60) == [("server", "… 40,997 more like this in 60 s")]
    assert repeated.is_new("server", b"error 9: disk full", 61)
