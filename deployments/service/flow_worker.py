"""Prefect's process worker, with three differences.

Flow processes outlive their worker and do without a silent server (`flow_process.py`), only the newest slot is run, and
runs that fell silent are watched for.
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
from deployments.service.leftovers import keep_tidy

AGAIN_SECONDS = 5.0
FINISH_SECONDS, LAST_SECONDS = 20.0, 8.0
"""How long runs may take to finish when the worker is stopped, and to report when they are ended."""
FLOW_PROCESS = "deployments.service.flow_process"
Result = TypeVar("Result")


class FlowConfiguration(ProcessJobConfiguration):
    """What the worker starts for a run: a flow process of ours, unless the deployment names a command of its own."""

    folder: ClassVar[Path | None] = None
    """Where flow processes begin, unless the deployment names a folder. Prefect makes a temporary one for each, which
    stays when its worker is killed; ours go to the project at once (`deployments/pull_step.py`) and write nothing."""

    def prepare_for_flow_run(self, *arguments: Any, **named: Any) -> None:
        """Fill in what the run needs, the command at last."""
        super().prepare_for_flow_run(*arguments, **named)
        self.working_dir = self.working_dir or self.folder
        if not self._command_configured:
            self.command = shlex.join([sys.executable, "-m", FLOW_PROCESS])
            self._command_configured = True


with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # that it takes the place of "process" in this process's registry is meant

    class FlowWorker(ProcessWorker):
        """After an outage the server hands out every slot that was missed, the oldest first.

        With one run at a time the oldest would take the place of the newest, which is the one worth running.
        So slots that a newer one of the same deployment has overtaken are set aside here, before any begins.
        """

        job_configuration = FlowConfiguration
        stopping = False
        at_work = 0

        async def run(self, *arguments: Any, **named: Any) -> ProcessWorkerResult:
            """One flow process from its start to its end.

            By then Prefect's runner has reported one that failed. The worker would do so again some seconds later, when
            the run may have been set to AwaitingRetry, so it is given status 0.
            """
            self.at_work += 1
            try:
                result = await super().run(*arguments, **named)
                return result.model_copy(update={"status_code": 0})
            finally:
                self.at_work -= 1
                if self.is_idle:
                    give_back_memory()

        def _emit_flow_run_submitted_event(self, configuration: Any) -> None:
            """None, and then Prefect sends none of the end either: the run's own states say both."""

        @property
        def is_idle(self) -> bool:
            """Whether no run is at work or on its way."""
            return not self.at_work and not self._submitting_flow_run_ids

        async def get_and_submit_flow_runs(self) -> list[FlowRun]:
            """What is due, begun; nothing while the server does not answer."""
            return await patiently(super().get_and_submit_flow_runs) or []

        async def _sync_and_initialize(self) -> None:
            await patiently(super()._sync_and_initialize)

        async def _get_scheduled_flow_runs(self) -> list[WorkerFlowRunResponse]:
            if self.stopping:
                return []
            # The server hands out so many at a time, the oldest first: behind those set aside there may be more.
            aside: set[UUID] = set()
            while True:
                found = [
                    response
                    for response in await super()._get_scheduled_flow_runs()
                    if response.flow_run.id not in aside
                ]
                late = overtaken(response.flow_run for response in found)
                stale = [
                    response.flow_run for response in found if is_stale_repeat(response.flow_run, datetime.now(UTC))
                ]
                if not late and not stale:
                    return found
                for run_id, newer in late.items():
                    await self._set_aside(run_id, newer)
                for run in stale:
                    message = "its process died, and nobody was there to run it again while it was worth something"
                    await self.client.set_flow_run_state(run.id, Completed(name="Skipped", message=message))
                aside |= {*late, *(run.id for run in stale)}

        async def _set_aside(self, run_id: UUID, newer: FlowRun) -> None:
            message = f"scheduled for {newer.expected_start_time:%Y-%m-%d %H:%M:%S} UTC, a newer run takes its place"
            await self.client.set_flow_run_state(run_id, Completed(name="Skipped", message=message))


async def patiently(work: Callable[[], Awaitable[Result]]) -> Result | None:
    """What `work` returns; None, some seconds later, where the server does not answer or says that it cannot.

    Prefect's worker gives up after a minute of that, and its end is the end of all runs it is at.
    """
    try:
        return await work()
    except httpx.TransportError:
        pass
    except httpx.HTTPStatusError as error:
        if error.response.status_code < 500:  # our fault, and no outage
            raise
    await anyio.sleep(AGAIN_SECONDS)
    return None


def overtaken(runs: Iterable[FlowRun]) -> dict[UUID, FlowRun]:
    """Runs of a schedule that have not begun, by id, each with the newest of its deployment, which is due as well."""
    newest: dict[UUID | None, FlowRun] = {}
    of_schedules = [run for run in runs if run.auto_scheduled and not run.run_count and run.expected_start_time]
    for run in sorted(of_schedules, key=lambda run: str(run.expected_start_time)):
        newest[run.deployment_id] = run
    return {run.id: newest[run.deployment_id] for run in of_schedules if run is not newest[run.deployment_id]}


def give_back_memory() -> None:
    """Hand back to the system what is free in this process; glibc alone.

    A run leaves no object behind, but the clients and connections made for it come and go in pieces of the heap that
    glibc keeps: half a megabyte a run. They refer to each other in circles, which are collected before.
    """
    gc.collect()
    with suppress(OSError, AttributeError):  # another C library
        ctypes.CDLL(None).malloc_trim(0)


async def work(pool: str, name: str | None, folder: Path) -> None:
    """Work for `pool` until SIGTERM or Ctrl-C, which end it with CancelledError and nothing else.

    `folder`: where flow processes begin, and `results` in it is kept tidy.

    At the first it begins nothing more, and gives what is at work FINISH_SECONDS; a second one is not waited for.
    """
    stopped = asyncio.current_task()
    try:
        # In a task of its own: anyio's task groups may lose count of how often the task that opened them was cancelled.
        await asyncio.create_task(_work(pool, name, folder, stopped))
    except BaseException:
        # Interrupted while it connects, Prefect's worker falls over its own connections; a stop is still a stop.
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
        tasks.start_soon(keep_tidy, folder / "results")
        tasks.start_soon(watch_runs, pool, worker.name)
        tasks.start_soon(stop_when_asked, worker, stopped)
        await worker.start()
        tasks.cancel_scope.cancel()


async def stop_when_asked(worker: FlowWorker, working: asyncio.Task[Any] | None) -> None:
    """Wait for SIGTERM or Ctrl-C; then for the end of what is at work, or the next signal; then cancel `working`.

    Prefect's worker would kill its flow processes at once, and leave their runs Running.
    """
    with anyio.open_signal_receiver(signal.SIGTERM, signal.SIGINT) as signals:
        await anext(signals)
        worker.stopping = True
        if not worker.is_idle:
            print(f"stopping; runs at work have {FINISH_SECONDS:g} s to finish")
        async with anyio.create_task_group() as waiting:
            waiting.start_soon(_hurry, signals, waiting.cancel_scope)
            await _finish(worker)
            waiting.cancel_scope.cancel()
    if working:
        working.cancel()


async def _hurry(signals: AsyncIterator[signal.Signals], waiting: anyio.CancelScope) -> None:
    await anext(signals)
    waiting.cancel()


async def _finish(worker: FlowWorker) -> None:
    """Let the runs end by themselves; those that do not are ended, and say so in their state."""
    with anyio.move_on_after(FINISH_SECONDS):
        await _idle(worker)
    for process in psutil.Process().children():
        with suppress(psutil.NoSuchProcess):  # just gone
            process.terminate()
    with anyio.move_on_after(LAST_SECONDS):
        await _idle(worker)


async def _idle(worker: FlowWorker) -> None:
    while not worker.is_idle:
        await anyio.sleep(0.1)
