"""Differences between this project's worker and Prefect's process worker, with fakes for the server."""

import asyncio
import os
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import UUID, uuid4

import httpx
import pytest
from prefect.client.schemas.objects import FlowRun
from prefect.client.schemas.responses import WorkerFlowRunResponse
from prefect.settings import PREFECT_API_URL, temporary_settings
from prefect.workers.process import ProcessWorker

from deployments.service import flow_worker
from deployments.service.flow_worker import FlowWorker, superseded
from tests.conftest import ROOT
from tests.up import FLOW_PROCESS


def test_flow_process_with_invalid_run_id_fails_with_message(prefect_api: str) -> None:
    done = subprocess.run(
        [sys.executable, "-m", FLOW_PROCESS],
        cwd=ROOT,
        env=os.environ | {"PREFECT__FLOW_RUN_ID": "not a run", "PREFECT_API_URL": prefect_api},
        capture_output=True,
        text=True,
        check=False,
    )
    assert "Invalid flow run id" in done.stderr
    assert done.returncode == 1


def run_at(minute: int, deployment: object, **changes: object) -> FlowRun:
    due = datetime(2024, 2, 2, 10, tzinfo=UTC) + timedelta(minutes=minute)
    variables = {"flow_id": uuid4(), "deployment_id": deployment, "auto_scheduled": True, "expected_start_time": due}
    return FlowRun(**variables | changes)


def test_only_the_newest_missed_slot_of_a_deployment_runs() -> None:
    first_deployment, other_deployment = uuid4(), uuid4()
    oldest, middle, newest = (run_at(minute, first_deployment) for minute in (0, 10, 20))
    only_slot = run_at(0, other_deployment)
    by_hand = run_at(0, first_deployment, auto_scheduled=False)
    retried = run_at(0, first_deployment, run_count=1)
    late = superseded([newest, by_hand, oldest, only_slot, retried, middle])
    assert late == {oldest.id: newest, middle.id: newest}
    assert superseded([]) == {}


def test_all_missed_slots_are_skipped_across_several_queries(monkeypatch: pytest.MonkeyPatch) -> None:
    """Many slots were missed, and the fake server returns three at a time."""
    deployment, set_aside_ids = uuid4(), []
    missed = [run_at(10 * number, deployment) for number in range(8)]

    async def next_three(_: object) -> list[WorkerFlowRunResponse]:
        next_runs = [run for run in missed if run.id not in set_aside_ids][:3]
        return [WorkerFlowRunResponse(work_pool_id=uuid4(), work_queue_id=uuid4(), flow_run=run) for run in next_runs]

    async def set_aside(_: object, run_id: UUID, __: FlowRun) -> None:
        set_aside_ids.append(run_id)

    monkeypatch.setattr(ProcessWorker, "_get_scheduled_flow_runs", next_three)
    monkeypatch.setattr(FlowWorker, "_skip", set_aside)
    worker = FlowWorker(work_pool_name="hybrid-ml")
    responses = asyncio.run(worker._get_scheduled_flow_runs())
    assert [response.flow_run.id for response in responses] == [missed[-1].id]
    assert set_aside_ids == [run.id for run in missed[:-1]]


@pytest.mark.parametrize("stopped", [True, False])
def test_worker_stopped_while_it_connects_ends_without_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stopped: bool
) -> None:
    """Prefect's worker, interrupted there, raises an error of its own connections; a fake raises it here."""

    connects = asyncio.Event()

    async def connect(_: object) -> None:
        connects.set()
        try:
            await asyncio.sleep(3_600 if stopped else 0)
        finally:
            raise RuntimeError("Attempted to exit a cancel scope that isn't the current tasks's current cancel scope")

    async def connect_and_stop() -> None:
        working = asyncio.create_task(flow_worker.work("hybrid-ml", None, tmp_path))
        await connects.wait()
        if stopped:
            working.cancel()
        await working

    monkeypatch.setattr(FlowWorker, "start", connect)
    # an address without a server: without any address, Prefect would start a server
    with (
        temporary_settings({PREFECT_API_URL: "http://127.0.0.1:9/api"}),
        pytest.raises(asyncio.CancelledError if stopped else ExceptionGroup),
    ):
        asyncio.run(connect_and_stop())


@pytest.mark.parametrize("status", [None, 500, 503, 404])
def test_worker_survives_an_outage_of_the_server(monkeypatch: pytest.MonkeyPatch, status: int | None) -> None:
    """Prefect's worker would end after a minute, and its runs with it. An error of the client is raised."""
    monkeypatch.setattr(flow_worker, "AGAIN_SECONDS", 0.01)
    request = httpx.Request("POST", "http://127.0.0.1:9/api")

    async def failing_call() -> str:
        if status is None:
            raise httpx.ConnectError("refused", request=request)
        raise httpx.HTTPStatusError("no", request=request, response=httpx.Response(status, request=request))

    async def successful_call() -> str:
        return "an answer"

    if status == 404:
        with pytest.raises(httpx.HTTPStatusError):
            asyncio.run(flow_worker.none_on_outage(failing_call))
    else:
        assert asyncio.run(flow_worker.none_on_outage(failing_call)) is None
    assert asyncio.run(flow_worker.none_on_outage(successful_call)) == "an answer"


def test_standalone_worker_uses_own_defaults_unless_variables_are_set() -> None:
    """The command has already loaded Prefect and its settings when it starts the worker; Prefect's default is 10 s."""
    program = """
import sys
from deployments.service import flow_worker
from prefect.settings import get_current_settings

async def work(*_):
    print(get_current_settings().worker.query_seconds, get_current_settings().worker.prefetch_seconds)

flow_worker.work = work
from hybrid_ml.cli.__main__ import main
main(["worker"])
"""
    variables = {"PREFECT_WORKER_QUERY_SECONDS": "7", "PREFECT_API_URL": "http://127.0.0.1:9/api"}
    environment = os.environ | variables
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, env=environment, capture_output=True, text=True, check=False
    )
    assert done.stdout.split() == ["7.0", "15.0"], done.stderr


def test_broken_stdout_does_not_kill_process() -> None:
    """As for a worker after `up` was killed, and a flow process after its worker was killed."""
    program = """
from deployments.service.broken_pipe import ignore_broken_pipes

ignore_broken_pipes()
input()
print("stopping")
print("still here", flush=True)
raise SystemExit(7)
"""
    process = subprocess.Popen(
        [sys.executable, "-c", program], cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    process.stdout.close()
    process.stderr.close()
    process.stdin.write(b"\n")
    process.stdin.close()
    assert process.wait(60) == 7


def test_stdout_closed_at_start_does_not_kill_process() -> None:
    program = """
from deployments.service.broken_pipe import ignore_broken_pipes
from hybrid_ml.console.terminal import out

ignore_broken_pipes()
out.print("nobody hears")
raise SystemExit(7)
"""
    command = ["sh", "-c", 'exec "$0" -c "$1" >&-', sys.executable, program]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 7, done.stderr
