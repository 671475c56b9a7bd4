"""How our worker differs from Prefect's process worker, with stand-ins for the server, and what its processes print."""

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
from deployments.service.flow_worker import FlowWorker, overtaken
from tests.conftest import ROOT
from tests.up import FLOW_PROCESS


def test_a_flow_process_that_cannot_begin_says_why_and_fails(prefect_api: str) -> None:
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
    stated = {"flow_id": uuid4(), "deployment_id": deployment, "auto_scheduled": True, "expected_start_time": due}
    return FlowRun(**stated | changes)


def test_only_the_newest_slot_of_a_deployment_is_left() -> None:
    one, other = uuid4(), uuid4()
    oldest, middle, newest = (run_at(minute, one) for minute in (0, 10, 20))
    alone = run_at(0, other)
    by_hand = run_at(0, one, auto_scheduled=False)
    retried = run_at(0, one, run_count=1)
    late = overtaken([newest, by_hand, oldest, alone, retried, middle])
    assert late == {oldest.id: newest, middle.id: newest}
    assert overtaken([]) == {}


def test_slots_behind_those_that_are_set_aside_are_looked_at_as_well(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two days have been missed, and the server, which is stood in for here, hands out three at a time."""
    deployment, aside = uuid4(), []
    missed = [run_at(10 * number, deployment) for number in range(8)]

    async def next_three(_: object) -> list[WorkerFlowRunResponse]:
        found = [run for run in missed if run.id not in aside][:3]
        return [WorkerFlowRunResponse(work_pool_id=uuid4(), work_queue_id=uuid4(), flow_run=run) for run in found]

    async def set_aside(_: object, run_id: UUID, __: FlowRun) -> None:
        aside.append(run_id)

    monkeypatch.setattr(ProcessWorker, "_get_scheduled_flow_runs", next_three)
    monkeypatch.setattr(FlowWorker, "_set_aside", set_aside)
    worker = FlowWorker(work_pool_name="hybrid-ml")
    left = asyncio.run(worker._get_scheduled_flow_runs())
    assert [response.flow_run.id for response in left] == [missed[-1].id]
    assert aside == [run.id for run in missed[:-1]]


@pytest.mark.parametrize("stopped", [True, False])
def test_a_worker_that_is_stopped_while_it_connects_just_stops(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stopped: bool
) -> None:
    """Prefect's worker, interrupted there, falls over its own connections, which is stood in for by an error here."""

    connects = asyncio.Event()

    async def connect(_: object) -> None:
        connects.set()
        try:
            await asyncio.sleep(3_600 if stopped else 0)
        finally:
            raise RuntimeError("Attempted to exit a cancel scope that isn't the current tasks's current cancel scope")

    async def interrupted() -> None:
        working = asyncio.create_task(flow_worker.work("hybrid-ml", None, tmp_path))
        await connects.wait()
        if stopped:
            working.cancel()
        await working

    monkeypatch.setattr(FlowWorker, "start", connect)
    # a server that refuses: without an address, Prefect would start one
    with (
        temporary_settings({PREFECT_API_URL: "http://127.0.0.1:9/api"}),
        pytest.raises(asyncio.CancelledError if stopped else ExceptionGroup),
    ):
        asyncio.run(interrupted())


@pytest.mark.parametrize("status", [None, 500, 503, 404])
def test_a_worker_outlasts_an_outage_of_the_server(monkeypatch: pytest.MonkeyPatch, status: int | None) -> None:
    """Prefect's would end after a minute, and the runs it is at with it; what is our own fault is not passed over."""
    monkeypatch.setattr(flow_worker, "AGAIN_SECONDS", 0.01)
    request = httpx.Request("POST", "http://127.0.0.1:9/api")

    async def asks() -> str:
        if status is None:
            raise httpx.ConnectError("refused", request=request)
        raise httpx.HTTPStatusError("no", request=request, response=httpx.Response(status, request=request))

    async def answers() -> str:
        return "an answer"

    if status == 404:
        with pytest.raises(httpx.HTTPStatusError):
            asyncio.run(flow_worker.patiently(asks))
    else:
        assert asyncio.run(flow_worker.patiently(asks)) is None
    assert asyncio.run(flow_worker.patiently(answers)) == "an answer"


@pytest.mark.parametrize("stated, seconds", [({}, 1.0), ({"PREFECT_WORKER_QUERY_SECONDS": "7"}, 7.0)])
def test_a_worker_on_its_own_has_its_settings_and_yours_before_them(stated: dict[str, str], seconds: float) -> None:
    """The command has loaded Prefect, which has read its settings, before it comes to the worker."""
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
    environment = os.environ | stated | {"PREFECT_API_URL": "http://127.0.0.1:9/api"}
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, env=environment, capture_output=True, text=True, check=False
    )
    assert done.stdout.split() == [str(seconds), "15.0"], done.stderr


def test_what_nobody_hears_does_not_end_who_says_it() -> None:
    """A worker that is stopped since `up` is gone, and a flow process whose worker is."""
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


def test_an_output_that_was_closed_at_the_start_is_nobodys_end() -> None:
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
