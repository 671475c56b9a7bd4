"""Unresponsive parts are replaced, and lasting problems are reported; the data folder is on a small disk."""

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
from tests.databases import run_as_superuser
from tests.faults.conftest import faults
from tests.faults.sample import matrix
from tests.faults.table import FaultRows
from tests.hooks import Hooks, hooks
from tests.telegram_api import TOKEN, BotApi
from tests.telegram_server import bot_api
from tests.up import AWAKE, SERVER, Up, everything_up, wait_for
from tests.up_schedules import runs_every

__all__ = ["faults"]

UNRESPONSIVE_SECONDS = 10
DISK_MEGABYTES, MIN_FREE_MEGABYTES = 600, 60


@dataclass
class MonitoredUp:
    """A running `hybrid-ml up`, and the receivers of its reports."""

    up: Up
    api: BotApi
    hooks: Hooks

    def texts(self) -> list[str]:
        """Reports to the chat, without alerts."""
        return [text for message in self.api.messages if (text := message.get("text", "")).startswith(("⚠", "✓"))]

    def wait_for_text(self, words: str, since: int = 0) -> str:
        """A report with `words`, from number `since` on."""
        report = lambda: next((text for text in self.texts()[since:] if words in text), None)  # noqa: E731
        return wait_for(words, report)

    def is_ready(self) -> bool:
        with suppress(Exception), self.up.client() as client:
            return client.request("GET", "/ready").status_code == 200
        return False

    def wait_until_healthy(self) -> None:
        wait_for("a server that is ready", self.is_ready)
        wait_for("nothing open", lambda: not self._open_problems())

    def _open_problems(self) -> list:
        state = read_state(self.up.data_dir)
        return state.opened if state else ["unknown"]


@pytest.fixture(scope="module")
def monitored(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MonitoredUp]:
    folder = tmp_path_factory.mktemp("ill")
    with small_disk(folder / "data"), bot_api() as api, hooks() as received:
        variables = {
            "HYBRID_ML_SILENCE_SECONDS": str(UNRESPONSIVE_SECONDS),
            "HYBRID_ML_HEALTH_PATIENCE_SECONDS": "90",
            "HYBRID_ML_HEALTH_WEBHOOK_URL": f"{received.url}/webhook",
            "HYBRID_ML_HEARTBEAT_URL": f"{received.url}/ping/1234",
            "HYBRID_ML_MIN_FREE_MB": str(MIN_FREE_MEGABYTES),
            "PREFECT_WORKER_HEARTBEAT_SECONDS": "3",
            "TELEGRAM_BASE_URL": api.base_url,
            "TELEGRAM_BOT_TOKEN": TOKEN,
            "TELEGRAM_CHAT_ID": "42",
        }
        try:
            with everything_up(folder, **variables) as running:
                yield MonitoredUp(running, api, received)
        finally:
            stop_postgres(folder)


def stop_postgres(folder: Path) -> None:
    """Stop the PostgreSQL below `folder`: its files are deleted, so this process could not stop it at exit."""
    for process in psutil.process_iter():
        with suppress(psutil.Error):
            if process.name() == "postgres" and str(folder / "data") in " ".join(process.cmdline()):
                process.send_signal(signal.SIGQUIT)
                process.wait(30)


@contextmanager
def small_disk(folder: Path) -> Iterator[None]:
    """Mount a small disk at `folder`; needs root, or sudo without a password."""
    folder.mkdir()
    sudo = [] if os.geteuid() == 0 else ["sudo", "--non-interactive"]
    options = f"size={DISK_MEGABYTES}m,mode=0755,uid={os.geteuid()},gid={os.getegid()}"
    subprocess.run([*sudo, "mount", "-t", "tmpfs", "-o", options, "tmpfs", folder], check=True)
    try:
        yield
    finally:
        subprocess.run([*sudo, "umount", "--lazy", folder], check=True)


@matrix
def test_completed_slot_requests_heartbeat_url_and_failed_slot_its_fail_url(
    monitored: MonitoredUp, faults: FaultRows
) -> None:
    up = monitored.up
    with runs_every(up) as run_id:
        good = up.wait_for_end(run_id)
    assert good.state.type.value == "COMPLETED", good.state
    wait_for("the heartbeat", lambda: monitored.hooks.paths[-1:] == ["/ping/1234"])
    monitored.wait_until_healthy()
    reported, texts = len(monitored.hooks.bodies), len(monitored.texts())
    with runs_every(up, **AWAKE, symbols=["NOWHERE"]) as run_id:
        bad = up.wait_for_end(run_id)
    assert bad.state.type.value == "FAILED", bad.state
    text = monitored.wait_for_text("the run of analysis", texts)
    assert "ended Failed" in text
    wait_for("the failure", lambda: monitored.hooks.paths[-1] == "/ping/1234/fail")
    with runs_every(up) as run_id:
        up.wait_for_end(run_id)
    wait_for("the heartbeat", lambda: monitored.hooks.paths[-1] == "/ping/1234")

    def run_events() -> list[str]:
        bodies = monitored.hooks.bodies[reported:]
        return [body["event"] for body in bodies if body["problem"] == "runs of analysis"]

    assert wait_for("the end of the problem", lambda: run_events() if "over" in run_events() else None) == [
        "begun",
        "over",
    ]
    over = monitored.wait_for_text("over after", texts)
    faults.add("a slot fails, the next one does not", f"{text.splitlines()[0][:60]}… / {over[:30]}…", 0.0)


@matrix
def test_suspending_everything_together_replaces_no_part(monitored: MonitoredUp) -> None:
    supervisor = psutil.Process(monitored.up.process.pid)
    parts, services = [supervisor, *supervisor.children(recursive=True)], supervisor.children()
    postgres = [process for process in psutil.process_iter() if _is_below(process, monitored.up.data_dir)]
    text, lines = len(monitored.texts()), len(monitored.up.log.read_text())
    for process in [*parts, *postgres]:
        with suppress(psutil.NoSuchProcess):  # a flow process that has just ended
            process.suspend()
    time.sleep(3 * UNRESPONSIVE_SECONDS)
    resumed = datetime.now(UTC)
    for process in [*postgres, *parts]:
        with suppress(psutil.NoSuchProcess):
            process.resume()
    time.sleep(2 * UNRESPONSIVE_SECONDS)
    wait_for("a state of the monitor", lambda: (state := read_state(monitored.up.data_dir)) and state.as_of > resumed)
    assert [service.pid for service in supervisor.children()] == [service.pid for service in services]
    message = monitored.up.log.read_text()[lines:]
    assert "not ready" not in message
    assert "has ended" not in message
    assert monitored.texts()[text:] == []


def _is_below(process: psutil.Process, folder: Path) -> bool:
    with suppress(psutil.Error):
        return process.name() == "postgres" and process.cwd().startswith(str(folder))
    return False


@matrix
def test_unresponsive_server_worker_and_bot_are_replaced(monitored: MonitoredUp, faults: FaultRows) -> None:
    """Server, worker and bot are suspended: their processes exist, but do not respond."""
    hung = [monitored.up.child(words) for words in (SERVER, "hybrid_ml.cli worker", "hybrid_ml.cli bot")]
    text, started = len(monitored.texts()), time.monotonic()
    for process in hung:
        process.suspend()
    for name in ("server", "worker", "bot"):
        wait_for(f"another {name}", lambda name=name: _was_replaced(monitored.up, name))
    for process in hung:
        process.wait(30)
    monitored.wait_until_healthy()
    seconds = time.monotonic() - started
    assert monitored.up.wait_for_end(monitored.up.trigger(**AWAKE)).state.type.value == "COMPLETED"
    assert monitored.texts()[text:] == [], "a problem that was solved in time is not reported"
    faults.add("server, worker and bot hang for good", "each replaced, no report, the next run works", seconds)


def _was_replaced(up: Up, name: str) -> bool:
    lines = [line for line in up.log.read_text().splitlines() if line.startswith(f"{name} ")]
    return any("it is replaced" in line for line in lines) and any("SIGKILL" in line for line in lines)


@matrix
def test_unresponsive_postgresql_is_replaced(monitored: MonitoredUp, faults: FaultRows) -> None:
    pid = int((monitored.up.data_dir / "postgres" / "postmaster.pid").read_text().split()[0])
    started = time.monotonic()
    psutil.Process(pid).suspend()
    wait_for("its end", lambda: not psutil.pid_exists(pid))
    monitored.wait_until_healthy()
    faults.add("PostgreSQL hangs for good", "replaced; what was committed is there", time.monotonic() - started)
    assert monitored.up.wait_for_end(monitored.up.trigger(**AWAKE)).state.type.value == "COMPLETED"


@matrix
def test_dropped_database_of_the_server_is_created_again(monitored: MonitoredUp, faults: FaultRows) -> None:
    started = time.monotonic()
    start_embedded(monitored.up.data_dir)
    run_as_superuser(administrator_address(monitored.up.data_dir), "DROP DATABASE prefect WITH (FORCE)")
    wait_for("the database", lambda: "created again, empty" in monitored.up.log.read_text())
    monitored.wait_until_healthy()
    assert monitored.up.wait_for_end(monitored.up.trigger(**AWAKE)).state.type.value == "COMPLETED"
    faults.add(
        "the server's database is dropped", "made again and set up; the next run works", time.monotonic() - started
    )


@matrix
def test_problem_after_three_restarts_is_reported_with_remedy(monitored: MonitoredUp, faults: FaultRows) -> None:
    """The server is killed at every start until the report is sent."""
    message, words = len(monitored.texts()), "server is not ready"

    def killed_and_reported() -> str | None:
        for server in monitored.up.children(SERVER):
            server.kill()
        return next((text for text in monitored.texts()[message:] if words in text), None)

    report = wait_for(words, killed_and_reported)
    assert "SIGKILL" in report
    assert f"3 restarts without success: {words}" in monitored.up.log.read_text()
    monitored.wait_for_text("over after", message)
    monitored.wait_until_healthy()
    assert len([text for text in monitored.texts()[message:] if words in text]) == 2
    faults.add("the server ends whenever it starts", report.splitlines()[0], 0.0)


@matrix
def test_full_disk_is_reported_once_and_repeated_lines_are_counted(monitored: MonitoredUp, faults: FaultRows) -> None:
    message, printed = len(monitored.texts()), len(monitored.up.log.read_text().splitlines())
    filler = monitored.up.data_dir / "filling"
    with filler.open("wb", buffering=0) as file, suppress(OSError):
        while True:
            file.write(bytes(1_000_000))
    text = monitored.wait_for_text("MB free, less than 60 MB", message)
    time.sleep(75)  # longer than a window of repeated lines
    lines = monitored.up.log.read_text().splitlines()[printed:]
    filler.unlink()
    monitored.wait_for_text("over after", message)
    monitored.wait_until_healthy()
    assert len([text for text in monitored.texts()[message:] if "MB free" in text]) == 2
    assert len(lines) < 3_000, len(lines)
    assert monitored.up.wait_for_end(monitored.up.trigger(**AWAKE)).state.type.value == "COMPLETED"
    summary = monitored.up.log.read_text().splitlines()[printed:]
    count_line = next(line for line in summary if "more like this" in line)
    faults.add("the disk is full for 75 s", f"{text.splitlines()[0][:80]}…; {len(lines)} lines, {count_line}", 0.0)


@matrix
def test_embedded_postgresql_keeps_all_rows(monitored: MonitoredUp) -> None:
    """After all faults above."""
    with closing(psycopg2.connect(start_embedded(monitored.up.data_dir))) as connection, connection.cursor() as cursor:
        cursor.execute("SELECT count(*) FROM bars")
        assert cursor.fetchone() == (9_000,)


def test_repeated_lines_are_counted_and_different_lines_printed() -> None:
    from deployments.service.lines import RepeatedLines

    repeated = RepeatedLines(60)
    printed = [n for n in range(41_000) if repeated.is_new("server", b"error %d: disk full" % n, n / 1_000)]
    assert printed == [0, 1, 2]
    assert repeated.is_new("server", b"another line", 41)
    assert repeated.is_new("worker", b"error 7: disk full", 41)
    assert repeated.summaries(59) == []
    assert repeated.summaries(60) == [("server", "… 40,997 more like this in 60 s")]
    assert repeated.is_new("server", b"error 9: disk full", 61)
