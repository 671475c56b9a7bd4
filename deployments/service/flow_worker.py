"""Prefect's process worker, with three differences.

Flow processes outlive their worker and continue without the server (`flow_process.py`), only the newest slot is run,
and runs without heartbeats are set to Crashed.
"""

import asyncio
import ctypes
import gc
import shlex
import signal
import sys
import warnings
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, ClassVar, TypeVar
from uuid import UUID

import anyio
import httpx
import psutil
from prefect.client.schemas.objects import FlowRun
from prefect.client.schemas.responses import WorkerFlowRunResponse
from prefect.settings import get_current_settings
from prefect.states import Completed
from prefect.workers.process import ProcessJobConfiguration, ProcessWorker, ProcessWorkerResult

from deployments.run_watcher.repeats import is_stale_repeat
from deployments.run_watcher.watcher import watch_runs
from deployments.service.leftovers import remove_leftovers_daily

AGAIN_SECONDS = 5.0
FINISH_SECONDS, LAST_SECONDS = 20.0, 8.0
"""Seconds for runs to finish when the worker is stopped, and to report when they are terminated."""
FLOW_PROCESS = "deployments.service.flow_process"
Result = TypeVar("Result")


class FlowConfiguration(ProcessJobConfiguration):
    """What the worker starts for a run: our flow process, unless the deployment states a command."""

    folder: ClassVar[Path | None] = None
    """The folder of flow processes, unless the deployment states one. Prefect makes a temporary one for each, which
    stays when its worker is killed; ours change to the project at once (`deployments/pull_step.py`)."""

    def prepare_for_flow_run(self, *arguments: Any, **named: Any) -> None:
        """Fill in what the run needs, and the command."""
        super().prepare_for_flow_run(*arguments, **named)
        self.working_dir = self.working_dir or self.folder
        if not self._command_configured:
            self.command = shlex.join([sys.executable, "-m", FLOW_PROCESS])
            self._command_configured = True


with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # it replaces "process" in this process's registry on purpose

    class FlowWorker(ProcessWorker):
        """After an outage the server returns every slot that was missed, the oldest first.

        With one run at a time the oldest would run instead of the newest, which is the useful one.
        So slots that a newer one of the same deployment has superseded are set to Skipped here, before any begins.
        """

        job_configuration = FlowConfiguration
        stopping = False
        at_work = 0

        async def run(self, *arguments: Any, **named: Any) -> ProcessWorkerResult:
            """Run one flow process from its start to its end.

            By then Prefect's runner has reported a failed run. The worker would report it again seconds later, when
            it may have been set to AwaitingRetry, so it gets status 0.
            """
            self.at_work += 1
            try:
                result = await super().run(*arguments, **named)
                return result.model_copy(update={"status_code": 0})
            finally:
                self.at_work -= 1
                if self.is_idle:
                    release_free_memory()

        def _emit_flow_run_submitted_event(self, configuration: Any) -> None:
            """Send no event, and then Prefect sends none of the end either: the run's own states contain both."""

        @property
        def is_idle(self) -> bool:
            """Whether no run is running or being submitted."""
            return not self.at_work and not self._submitting_flow_run_ids

        async def get_and_submit_flow_runs(self) -> list[FlowRun]:
            """Submit the due runs; none while the server does not answer."""
            return await none_on_outage(super().get_and_submit_flow_runs) or []

        async def _sync_and_initialize(self) -> None:
            await none_on_outage(super()._sync_and_initialize)

        async def _get_scheduled_flow_runs(self) -> list[WorkerFlowRunResponse]:
            if self.stopping:
                return []
            # The server returns a limited number, the oldest first: there may be more after the skipped ones.
            skipped: set[UUID] = set()
            while True:
                responses = [
                    response
                    for response in await super()._get_scheduled_flow_runs()
                    if response.flow_run.id not in skipped
                ]
                late = superseded(response.flow_run for response in responses)
                stale = [
                    response.flow_run for response in responses if is_stale_repeat(response.flow_run, datetime.now(UTC))
                ]
                if not late and not stale:
                    return responses
                for run_id, newer in late.items():
                    await self._skip(run_id, newer)
                for run in stale:
                    message = "its process died, and no worker was there to repeat it in time for its slot"
                    await self.client.set_flow_run_state(run.id, Completed(name="Skipped", message=message))
                skipped |= {*late, *(run.id for run in stale)}

        async def _skip(self, run_id: UUID, newer: FlowRun) -> None:
            message = f"scheduled for {newer.expected_start_time:%Y-%m-%d %H:%M:%S} UTC, a newer run takes its place"
            await self.client.set_flow_run_state(run_id, Completed(name="Skipped", message=message))


async def none_on_outage(work: Callable[[], Awaitable[Result]]) -> Result | None:
    """The result of `work`; None, after some seconds, where the server does not answer or has an internal error.

    Prefect's worker otherwise gives up after a minute of that, which ends all runs of the worker.
    """
    try:
        return await work()
    except httpx.TransportError:
        pass
    except httpx.HTTPStatusError as error:
        if error.response.status_code < 500:  # an error in our request, and no outage
            raise
    await anyio.sleep(AGAIN_SECONDS)
    return None


def superseded(runs: Iterable[FlowRun]) -> dict[UUID, FlowRun]:
    """Scheduled runs that have not begun and are superseded, by id, each with the newest due run of its deployment."""
    newest: dict[UUID | None, FlowRun] = {}
    of_schedules = [run for run in runs if run.auto_scheduled and not run.run_count and run.expected_start_time]
    for run in sorted(of_schedules, key=lambda run: str(run.expected_start_time)):
        newest[run.deployment_id] = run
    return {run.id: newest[run.deployment_id] for run in of_schedules if run is not newest[run.deployment_id]}


def release_free_memory() -> None:
    """Return this process's free memory to the operating system; for glibc only.

    A run leaves no object behind, but the memory of its clients and connections stays in the heap that
    glibc keeps: half a megabyte for each run. They form reference cycles, which are collected first.
    """
    gc.collect()
    with suppress(OSError, AttributeError):  # another C library
        ctypes.CDLL(None).malloc_trim(0)


async def work(pool: str, name: str | None, folder: Path) -> None:
    """Work for `pool` until SIGTERM or Ctrl-C, which end it with CancelledError.

    `folder`: the folder of flow processes; old files in its `results` are removed.
    At the first signal no run begins any more, and running ones have FINISH_SECONDS; a second signal ends the wait.
    """
    stopped = asyncio.current_task()
    try:
        # In a task of its own: anyio's task groups may miscount how often the task that opened them was cancelled.
        await asyncio.create_task(_work(pool, name, folder, stopped))
    except BaseException:
        # When interrupted while connecting, Prefect's worker raises errors of its own; it is a stop nevertheless.
        if stopped and stopped.cancelling():
            raise asyncio.CancelledError from None
        raise


async def _work(pool: str, name: str | None, folder: Path, stopped: asyncio.Task[Any] | None) -> None:
    settings = get_current_settings().worker
    FlowConfiguration.folder = folder
    worker = FlowWorker(
        work_pool_name=pool,
        name=name,
        prefetch_seconds=settings.prefetch_seconds,
        heartbeat_interval_seconds=int(settings.heartbeat_seconds),
        create_pool_if_not_found=False,
    )
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(remove_leftovers_daily, folder / "results")
        tasks.start_soon(watch_runs, pool, worker.name)
        tasks.start_soon(stop_on_signal, worker, stopped)
        await worker.start()
        tasks.cancel_scope.cancel()


async def stop_on_signal(worker: FlowWorker, working: asyncio.Task[Any] | None) -> None:
    """Wait for SIGTERM or Ctrl-C; then for the end of running runs, or the next signal; then cancel `working`.

    Prefect's worker would kill its flow processes at once, and leave their runs Running.
    """
    with anyio.open_signal_receiver(signal.SIGTERM, signal.SIGINT) as signals:
        await anext(signals)
        worker.stopping = True
        if not worker.is_idle:
            print(f"stopping; running flows have {FINISH_SECONDS:g} s to finish")
        async with anyio.create_task_group() as waiting:
            waiting.start_soon(_wait_for_second_signal, signals, waiting.cancel_scope)
            await _finish(worker)
            waiting.cancel_scope.cancel()
    if working:
        working.cancel()


async def _wait_for_second_signal(signals: AsyncIterator[signal.Signals], waiting: anyio.CancelScope) -> None:
    await anext(signals)
    waiting.cancel()


async def _finish(worker: FlowWorker) -> None:
    """Wait for the runs to end; terminate those that do not, which report it in their state."""
    with anyio.move_on_after(FINISH_SECONDS):
        await _idle(worker)
    for process in psutil.Process().children():
        with suppress(psutil.NoSuchProcess):  # it has just ended
            process.terminate()
    with anyio.move_on_after(LAST_SECONDS):
        await _idle(worker)


async def _idle(worker: FlowWorker) -> None:
    while not worker.is_idle:
        await anyio.sleep(0.1)
