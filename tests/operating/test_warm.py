"""Flow processes forked from a warm template: started once, ended together, cold where there is no template."""

import asyncio
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import UUID, uuid4

import httpx
import psutil
import pytest
from prefect.client.schemas.objects import FlowRun
from prefect.client.schemas.responses import WorkerFlowRunResponse
from prefect.settings import PREFECT_API_URL, get_current_settings, temporary_settings
from prefect.workers.process import ProcessWorker

from deployments.warm import starter, template
from deployments.warm import worker as warm_worker
from deployments.warm.worker import STARTER, overtaken
from tests.conftest import ROOT
from tests.up import wait_for

NO_RUN = {"PREFECT__FLOW_RUN_ID": "not a run"}


@pytest.fixture(scope="module")
def warm(tmp_path_factory: pytest.TempPathFactory, prefect_api: str) -> Iterator[tuple[str, psutil.Process]]:
    """A template and the address of its socket."""
    address = str(tmp_path_factory.mktemp("warm") / "template")
    command = [sys.executable, "-m", "deployments.warm.template", address]
    with subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE) as process:
        wait_for("the template", lambda: Path(address).exists() or process.poll() is not None)
        assert process.poll() is None
        yield address, psutil.Process(process.pid)
    assert process.returncode == 0


def start(address: str, **environment: str) -> subprocess.Popen:
    """A starter beside the test's server: Prefect would start one of its own for it, which takes its time."""
    environment = os.environ | {"PREFECT_API_URL": str(get_current_settings().api.url)} | environment
    return subprocess.Popen(
        [sys.executable, "-S", str(STARTER), address],
        cwd=ROOT,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def test_without_a_template_it_starts_cold(tmp_path: Path, prefect_api: str) -> None:
    process = start(str(tmp_path / "nobody"), **NO_RUN)
    said, _ = process.communicate(timeout=120)
    assert "Invalid flow run id" in said
    assert process.returncode == 1


def test_a_fork_says_what_a_cold_one_says_and_ends_alike(warm: tuple[str, psutil.Process]) -> None:
    process = start(warm[0], **NO_RUN)
    said, _ = process.communicate(timeout=120)
    assert "Invalid flow run id" in said
    assert process.returncode == 1


def test_nothing_runs_before_the_starter_says_go(warm: tuple[str, psutil.Process]) -> None:
    asked = starter.ask(warm[0])
    assert asked is not None
    line, pid = asked
    assert psutil.pid_exists(pid)
    line.close()
    wait_for("the end of the fork", lambda: not psutil.pid_exists(pid))
    assert warm[1].is_running()


@pytest.fixture
def silent_api() -> Iterator[dict[str, str]]:
    """A server that takes a connection and never answers, so that a flow process stays where it is."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(16)
        url = f"http://127.0.0.1:{listener.getsockname()[1]}/api"
        yield {"PREFECT__FLOW_RUN_ID": str(uuid4()), "PREFECT_API_URL": url}


def fork_of(process: psutil.Process) -> psutil.Process:
    return wait_for("the fork", lambda: next(iter(process.children()), None))


def test_the_fork_ends_with_its_starter(warm: tuple[str, psutil.Process], silent_api: dict[str, str]) -> None:
    process = start(warm[0], **silent_api)
    fork = fork_of(warm[1])
    process.kill()
    wait_for("the end of the fork", lambda: not fork.is_running())
    process.communicate()


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_the_starter_ends_as_the_fork_ends(
    warm: tuple[str, psutil.Process], silent_api: dict[str, str], number: signal.Signals
) -> None:
    process = start(warm[0], **silent_api)
    fork_of(warm[1]).send_signal(number)
    process.communicate(timeout=60)
    assert process.returncode == -number


def test_a_signal_to_the_starter_reaches_the_fork(warm: tuple[str, psutil.Process], silent_api: dict[str, str]) -> None:
    process = start(warm[0], **silent_api)
    fork_of(warm[1])
    time.sleep(0.2)  # it hears signals once it has said go
    process.terminate()
    process.communicate(timeout=60)
    assert process.returncode == -signal.SIGTERM


def test_a_visitor_who_says_nothing_does_not_stop_it(warm: tuple[str, psutil.Process]) -> None:
    with socket.socket(socket.AF_UNIX) as visitor:
        visitor.connect(warm[0])
        visitor.sendall(b"hello")
        process = start(warm[0], **NO_RUN)
        process.communicate(timeout=120)
    assert process.returncode == 1


def test_changed_files_are_seen(tmp_path: Path) -> None:
    file = tmp_path / "module.py"
    file.write_text("a = 1\n")
    files = {file: (file.stat().st_mtime_ns, file.stat().st_size)}
    assert not template.is_outdated(files)
    file.write_text("a = 12\n")
    assert template.is_outdated(files)
    file.unlink()
    assert template.is_outdated(files)


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
    monkeypatch.setattr(warm_worker.WarmWorker, "_set_aside", set_aside)
    worker = warm_worker.WarmWorker(work_pool_name="hybrid-ml")
    left = asyncio.run(worker._get_scheduled_flow_runs())
    assert [each.flow_run.id for each in left] == [missed[-1].id]
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
        working = asyncio.create_task(warm_worker.work("hybrid-ml", None, None, tmp_path))
        await connects.wait()
        if stopped:
            working.cancel()
        await working

    monkeypatch.setattr(warm_worker.WarmWorker, "start", connect)
    # a server that refuses: without an address, Prefect would start one
    with (
        temporary_settings({PREFECT_API_URL: "http://127.0.0.1:9/api"}),
        pytest.raises(asyncio.CancelledError if stopped else ExceptionGroup),
    ):
        asyncio.run(interrupted())


@pytest.mark.parametrize("status", [None, 500, 503, 404])
def test_a_worker_outlasts_an_outage_of_the_server(monkeypatch: pytest.MonkeyPatch, status: int | None) -> None:
    """Prefect's would end after a minute, and the runs it is at with it; what is our own fault is not passed over."""
    monkeypatch.setattr(warm_worker, "AGAIN_SECONDS", 0.01)
    request = httpx.Request("POST", "http://127.0.0.1:9/api")

    async def asks() -> str:
        if status is None:
            raise httpx.ConnectError("refused", request=request)
        raise httpx.HTTPStatusError("no", request=request, response=httpx.Response(status, request=request))

    async def answers() -> str:
        return "an answer"

    if status == 404:
        with pytest.raises(httpx.HTTPStatusError):
            asyncio.run(warm_worker.patiently(asks))
    else:
        assert asyncio.run(warm_worker.patiently(asks)) is None
    assert asyncio.run(warm_worker.patiently(answers)) == "an answer"


@pytest.mark.parametrize("stated, seconds", [({}, 1.0), ({"PREFECT_WORKER_QUERY_SECONDS": "7"}, 7.0)])
def test_a_worker_on_its_own_has_its_settings_and_yours_before_them(stated: dict[str, str], seconds: float) -> None:
    """The command has loaded Prefect, which has read its settings, before it comes to the worker."""
    program = """
import sys
import deployments.warm.worker as warm_worker
from prefect.settings import get_current_settings

async def work(*_):
    print(get_current_settings().worker.query_seconds, get_current_settings().worker.prefetch_seconds)

warm_worker.work = work
from flows.__main__ import main
main(["worker"])
"""
    environment = os.environ | stated | {"PREFECT_API_URL": "http://127.0.0.1:9/api"}
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, env=environment, capture_output=True, text=True, check=False
    )
    assert done.stdout.split() == [str(seconds), "8.0"], done.stderr


def test_a_template_that_is_outdated_lets_go_of_the_starters_outputs(warm: tuple[str, psutil.Process]) -> None:
    """Its worker waits for their end, which never came while the template, begun anew, still held them."""
    path = ROOT / "hybrid_ml" / "errors.py"
    before = path.stat()
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns + 1))
    try:
        said, _ = start(warm[0], **NO_RUN).communicate(timeout=120)
    finally:
        os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert "Invalid flow run id" in said
    assert warm[1].is_running(), "the same process, begun anew"


def test_what_nobody_hears_does_not_end_who_says_it() -> None:
    """A worker that is stopped since `up` is gone, and a cold flow process whose worker is."""
    program = """
from deployments.unheard import speak_to_whoever_listens

speak_to_whoever_listens()
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
from deployments.unheard import speak_to_whoever_listens
from hybrid_ml.terminal import out

speak_to_whoever_listens()
out.print("nobody hears")
raise SystemExit(7)
"""
    command = ["sh", "-c", 'exec "$0" -c "$1" >&-', sys.executable, program]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 7, done.stderr
