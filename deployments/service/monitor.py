"""`hybrid-ml monitor`: checks everything the service needs, and reports each problem once.

A process of its own: it works while the Prefect server or the database is down, or the disk full. Open problems are in
its memory, and in a small file where that can be written.
"""

import asyncio
import logging
import signal
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from threading import Thread
from typing import Generic, TypeVar

from sqlalchemy import Engine

from deployments.service.channel import Listener
from deployments.service.runs import ANALYSIS, ServerCheck, Slot, check_server
from hybrid_ml.config.settings import Settings, load_settings
from hybrid_ml.errors import HybridMLError, ServiceBusy
from hybrid_ml.health.checks import check_database, check_disks, database_problem
from hybrid_ml.health.outlets import Sender, outlets, ping
from hybrid_ml.health.problems import Problem, Problems, Report, report_text
from hybrid_ml.health.running_time import RunningTime
from hybrid_ml.health.state_file import WRITTEN_AGAIN, State, only_one, read_state, write_state
from hybrid_ml.store.engine import connect_only
from hybrid_ml.text.counts import counted

CHECK_SECONDS, CHECK_TIMEOUT_SECONDS = 10.0, 20.0
Result = TypeVar("Result")
logger = logging.getLogger(__name__)


class OneAtATime(Generic[Result]):
    """Runs a check that may hang in a daemon thread, and none beside one that hangs."""

    def __init__(self) -> None:
        self._thread: Thread | None = None

    async def do(self, check: Callable[[], Result], seconds: float) -> Result | None:
        """The result of `check`; None where it or an earlier one takes longer than `seconds`. Raises what it raises."""
        if self._thread is not None and self._thread.is_alive():
            return None
        loop, results = asyncio.get_running_loop(), asyncio.Queue[tuple[Result | None, Exception | None]]()

        def run() -> None:
            result, error = None, None
            try:
                result = check()
            except Exception as raised:  # raised again in the waiting task
                error = raised
            loop.call_soon_threadsafe(results.put_nowait, (result, error))

        self._thread = Thread(target=run, name="check", daemon=True)
        self._thread.start()
        try:
            result, error = await asyncio.wait_for(results.get(), seconds)
        except TimeoutError:
            return None
        if error is not None:
            raise error
        return result


@dataclass
class Heartbeat:
    """The end of the newest slot reported to the heartbeat URL; slots that ended before the start are not reported."""

    newest: datetime

    def new(self, slots: list[Slot]) -> Slot | None:
        """The newest slot that ended since the last call, or None."""
        later = [slot for slot in slots if slot.ended_at > self.newest]
        if not later:
            return None
        newest = max(later, key=lambda slot: slot.ended_at)
        self.newest = newest.ended_at
        return newest


class Monitor:
    """Checks every few seconds, until cancelled. `read_settings`: raises HybridMLError while they cannot be read."""

    def __init__(self, settings: Settings, read_settings: Callable[[], Settings], listener: Listener) -> None:
        self._settings, self._read_settings, self._listener = settings, read_settings, listener
        now, kept = datetime.now(UTC), read_state(settings.data_dir)
        self._problems = Problems(kept.opened if kept else None)
        self._heartbeat = Heartbeat(kept.last_slot if kept and kept.last_slot else now)
        self._time = RunningTime(2 * CHECK_SECONDS + CHECK_TIMEOUT_SECONDS)
        self._running_seconds, self._good_slot_at = 0.0, 0.0
        self._undelivered: set[str] = set()
        self._part_problems: dict[str, str] = {}
        self._engine: Engine | None = None
        self._database: OneAtATime[dict[str, Problem | None]] = OneAtATime()
        self._server: OneAtATime[ServerCheck] = OneAtATime()
        self._written: State | None = None
        self._tasks: set[asyncio.Task[bool]] = set()

    async def run(self) -> None:
        """Check, report and write the state; an error in one check does not prevent the next."""
        async with self._listener.alive():
            self._settings = await self._read_configuration()
            sender = Sender(outlets(self._settings), self._mark_delivered)
            logger.info("monitoring; reports go to %s", self._receivers())
            while True:
                try:
                    reports = await self._check()
                except Exception as error:  # monitoring must continue
                    logger.error("a check failed (%s: %s)", type(error).__name__, error)
                else:
                    self._tell(sender, reports)
                await asyncio.sleep(self._pause_seconds)

    @property
    def _pause_seconds(self) -> float:
        return min(CHECK_SECONDS, max(1.0, self._settings.hybrid_ml_health_patience_seconds / 10))

    async def _read_configuration(self) -> Settings:
        """The settings, with those of the UI unless reading times out, since a dead server must be reported."""
        reader: OneAtATime[Settings] = OneAtATime()
        try:
            return await reader.do(self._read_settings, CHECK_TIMEOUT_SECONDS) or self._settings
        except HybridMLError as error:
            logger.warning("%s; using environment and .env", error)
            return self._settings

    def _receivers(self) -> str:
        chats = [f"chat {health_chat_identifier}" for health_chat_identifier in self._settings.health_chat_ids]
        webhook = ["a webhook"] if self._settings.hybrid_ml_health_webhook_url.get_secret_value() else []
        return ", ".join(chats + webhook) or "this log alone: no bot token, no HYBRID_ML_HEALTH_WEBHOOK_URL"

    async def _check(self) -> list[Report]:
        now = datetime.now(UTC)
        problems = self._disks() | await self._check_database(now) | await self._check_server()
        for part, problem in self._listener.received():
            self._part_problems[part] = problem
        for part, text in self._part_problems.items():
            what, _, remedy = text.rpartition("; ")
            problems[f"restarts of {part}"] = Problem(what, remedy) if text else None
            if text:
                problems.pop(part, None)  # the same problem with less detail
        self._running_seconds = self._time.advance()
        return self._problems.update(problems, now, self._running_seconds)

    def _disks(self) -> dict[str, Problem | None]:
        try:
            return check_disks(self._settings, {problem.key for problem in self._problems.opened})
        except OSError:
            return {}

    async def _check_database(self, now: datetime) -> dict[str, Problem | None]:
        def check() -> dict[str, Problem | None]:
            if self._engine is None:
                self._engine = connect_only(self._settings)
            return check_database(self._engine, self._settings, now)

        try:
            problems = await self._database.do(check, CHECK_TIMEOUT_SECONDS)
        except HybridMLError as error:
            return {"database": _without_remedy(str(error), self._settings)}
        if problems is None:
            silent = f"no answer within {CHECK_TIMEOUT_SECONDS:g} s"
            return {"database": database_problem("the configured address", silent, self._settings)}
        return problems

    async def _check_server(self) -> dict[str, Problem | None]:
        checked = await self._server.do(partial(check_server, self._settings), CHECK_TIMEOUT_SECONDS)
        if checked is None:
            return {}  # an answer, or the lack of one, is reported soon
        if checked.slots is None:
            return checked.problems
        newest = self._heartbeat.new(checked.slots)
        if newest is not None:
            self._ping(newest)
        failed = checked.problems.get(f"runs of {ANALYSIS}") is not None
        if (newest is not None and newest.good) or not checked.is_scheduled:
            self._good_slot_at = self._running_seconds
        return checked.problems | ({} if failed else {"slots": self._missed()})

    def _missed(self) -> Problem | None:
        """The problem that no slot ended well for too long, counted only while this monitor runs."""
        minutes = self._settings.hybrid_ml_missed_slots_minutes
        if self._running_seconds - self._good_slot_at < 60 * minutes:
            return None
        return Problem(
            f"no slot of the analysis has ended well for {counted(minutes, 'minute')}",
            "see `hybrid-ml status`",
        )

    def _ping(self, slot: Slot) -> None:
        url = self._settings.hybrid_ml_heartbeat_url
        if url.get_secret_value():
            task = asyncio.create_task(ping(url, good=slot.good))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    def _tell(self, sender: Sender, reports: list[Report]) -> None:
        for report in reports:
            logger.warning("%s", " ".join(report_text(report).splitlines()))
            if report.until is None:
                self._undelivered.add(report.problem.key)
        sender.send(reports)
        self._write()

    def _mark_delivered(self, report: Report) -> None:
        self._undelivered.discard(report.problem.key)
        self._write()

    def _write(self) -> None:
        """Write the reported open problems when they have changed, and once a minute as a sign of life."""
        opened = [problem for problem in self._problems.opened if problem.key not in self._undelivered]
        state = State(datetime.now(UTC), opened, self._heartbeat.newest)
        before = self._written
        same = before and (before.opened, before.last_slot) == (opened, state.last_slot)
        if before and same and state.as_of - before.as_of < WRITTEN_AGAIN:
            return
        if write_state(self._settings.data_dir, state):
            self._written = state


def _without_remedy(text: str, settings: Settings) -> Problem:
    what, _, remedy = text.rpartition("; ")
    return Problem(what or text, remedy if what else "check it", settings.hybrid_ml_health_patience_seconds)


def run_monitor(read_settings: Callable[[], Settings]) -> None:
    """Monitor until SIGTERM or Ctrl-C. Raises ServiceBusy where another one monitors this installation."""
    listener, settings = Listener(), load_settings()
    with only_one(settings.data_dir) as alone:
        if not alone:
            raise ServiceBusy(
                f"another `hybrid-ml monitor` runs for {settings.data_dir}; end it first, or do not start this one"
            )
        asyncio.run(_until_stopped(Monitor(settings, read_settings, listener)))


async def _until_stopped(monitor: Monitor) -> None:
    watching = asyncio.create_task(monitor.run())
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, watching.cancel)
    with suppress(asyncio.CancelledError):
        await watching
