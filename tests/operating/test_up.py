"""`hybrid-ml up`, `status` and `deploy`: start, schedules, status, refusals and stop."""

import json
import os
import pty
import signal
import socket
import subprocess
import time
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import psutil
import pytest
import yaml
from prefect.client.schemas.actions import WorkPoolCreate
from prefect.client.schemas.filters import FlowRunFilter
from prefect.events.actions import DoNothing
from prefect.events.schemas.automations import AutomationCore, EventTrigger, Posture

from deployments.provision.automations import FORMER_AUTOMATION
from deployments.provision.deploy import check_pool, reschedule_runs, set_up, stated_deployments
from deployments.provision.names import POOL
from deployments.provision.server_api import server_problem
from deployments.service.server import check_browsers
from deployments.service.supervisor import SupervisedProcess, Supervisor
from deployments.service.up import INTERRUPT_SECONDS, Stop
from deployments.status.collect import collect_status
from hybrid_ml.errors import BadInput, ServiceUnavailable
from tests.ports import free_port
from tests.up import (
    AWAKE,
    PROGRAM,
    ROOT,
    Up,
    environment_of,
    is_slot,
    runs_every,
    schedules_on,
    start_up,
    stop,
    wait_for,
)

SCHEDULED = ("weekly training/weekly-training", "analysis/analysis", "review/review", "backup/backup", "repair/repair")
BY_HAND = ("backfill/backfill", "add symbols/add-symbols", "replay/replay")


def test_every_deployment_is_ready_and_its_runs_are_scheduled(up: Up) -> None:
    with up.client() as client:
        states = {name: client.read_deployment_by_name(name).status.value for name in (*SCHEDULED, *BY_HAND)}
    assert set(states.values()) == {"READY"}
    with schedules_on(up):
        times = wait_for("runs of every schedule", lambda: _times_of_all_schedules(up))
    assert all((moment.second, moment.minute % 10) == (50, 9) for moment in times["analysis/analysis"])
    assert all((moment.weekday(), moment.hour, moment.minute) == (6, 0, 0) for moment in times[SCHEDULED[0]])
    assert all((moment.hour, moment.minute) == (4, 0) for moment in times["review/review"])
    assert all((moment.hour, moment.minute) == (2, 30) for moment in times["backup/backup"])
    assert all(moment.minute == 25 for moment in times["repair/repair"])
    assert not any(up.scheduled(name) for name in BY_HAND)


def _times_of_all_schedules(up: Up) -> dict[str, list[datetime]] | None:
    times = {name: [run.expected_start_time for run in up.scheduled(name)] for name in SCHEDULED}
    return times if all(times.values()) else None


def test_scheduled_analysis_completes_and_begins_on_time(up: Up) -> None:
    with runs_every(up) as run_id:
        run = up.wait_for_end(run_id)
    assert run.state.type.value == "COMPLETED", run.state
    assert run.auto_scheduled
    assert run.start_time > run.expected_start_time - timedelta(seconds=1), "Prefect rounds the wait to seconds"


def test_run_by_hand_completes_and_status_shows_it(up: Up) -> None:
    run = up.wait_for_end(up.trigger(**AWAKE))
    assert run.state.type.value == "COMPLETED", run.state
    assert run.name == f"analysis DEMO {run.expected_start_time:%Y-%m-%d %H:%M}", (
        "one symbol is named, not `all symbols`"
    )
    facts = json.loads(up.command("status", "--json").stdout)
    assert facts["server"] == up.api_url
    assert facts["workers"]
    assert {deployment["name"] for deployment in facts["deployments"]} == {*SCHEDULED, *BY_HAND}
    analysis = next(deployment for deployment in facts["deployments"] if deployment["name"] == "analysis/analysis")
    assert analysis["last"]["state"] == run.state.name
    assert facts["symbols"][0]["symbol"] == "DEMO"
    assert facts["symbols"][0]["model_version"].startswith("DEMO@")
    printed = up.command("status")
    assert printed.returncode == 0, printed.stdout + printed.stderr
    assert all(words in printed.stdout for words in ("analysis", "DEMO", "embedded PostgreSQL", up.api_url))


def test_command_uses_the_running_server(up: Up) -> None:
    begin = datetime.now(UTC)
    done = up.command("analyze", "--fast_mode", "--disable_sleep_window", "--max_bar_age_minutes", "1440", "--json")
    assert done.returncode == 0, done.stderr
    assert "temporary server" not in done.stderr
    filters = FlowRunFilter(
        deployment_id={"is_null_": True}, tags={"all_": ["hybrid-ml"]}, start_time={"after_": begin}
    )
    with up.client() as client:
        assert len(client.read_flow_runs(flow_run_filter=filters)) == 1


def test_second_up_reports_the_running_one(up: Up) -> None:
    again = up.command("up")
    assert again.returncode == 0
    assert "running already" in again.stdout
    assert str(up.process.pid) in again.stdout


def test_second_deploy_keeps_switched_off_schedules_and_removes_others(up: Up) -> None:
    with up.client() as client:
        review = client.read_deployment_by_name("review/review")
        assert not review.schedules[0].active
    with runs_every(up, 24 * 60, in_seconds=3_600):
        done = up.command("deploy")
        assert done.returncode == 0, done.stderr
        with up.client() as client:
            analysis, review = (client.read_deployment_by_name(name) for name in SCHEDULED[1:3])
            assert [schedule.slug for schedule in analysis.schedules] == ["every-ten-minutes"]
            assert [schedule.active for schedule in review.schedules] == [False]


def test_slots_due_during_deployment_are_created_once(up: Up) -> None:
    """Tested with the slots of the hour before: each is created once, also by a second call."""
    since = datetime.now(UTC) - timedelta(hours=1)
    with schedules_on(up), up.client() as client:
        for _ in range(2):
            reschedule_runs(client, since)
        deployment = client.read_deployment_by_name("analysis/analysis")
        chosen = FlowRunFilter(
            deployment_id={"any_": [deployment.id]}, expected_start_time={"after_": since, "before_": datetime.now(UTC)}
        )
        runs = client.read_flow_runs(flow_run_filter=chosen)
        slots = [run.expected_start_time for run in runs if run.auto_scheduled and is_slot(run.expected_start_time)]
        assert len(slots) == len(set(slots)) == 6
        for run in runs:
            up.wait_for_end(run.id)


def test_runs_are_rescheduled_after_a_failed_deployment(up: Up, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail() -> None:
        raise ServiceUnavailable("half of it")

    calls: list[datetime] = []
    monkeypatch.setattr("deployments.provision.deploy.deploy", fail)
    monkeypatch.setattr("deployments.provision.deploy.reschedule_runs", lambda _, since: calls.append(since))
    with up.client(), pytest.raises(ServiceUnavailable, match="half of it"):
        set_up()
    assert len(calls) == 1


def test_status_reports_an_invalid_prefect_yaml(up: Up, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "prefect.yaml").write_text("deployments: 7")
    monkeypatch.setattr("deployments.provision.deploy.project_folder", lambda: tmp_path)
    monkeypatch.setattr(
        "deployments.status.collect.load_configuration_for_command", lambda: None
    )  # it would stay in effect after this test
    with up.client():
        text = collect_status(datetime.now(UTC))
    assert any("prefect.yaml must list deployments" in problem for problem in text.problems)
    assert text.server == up.api_url


def test_deploy_removes_automation_and_limit_of_earlier_versions(up: Up) -> None:
    """The former automation treats a pause as a crash, and the leases of the former limit expire in one."""
    trigger = EventTrigger(expect={"prefect.flow-run.*"}, posture=Posture.Reactive, threshold=1, within=timedelta(0))
    limit = {"concurrency_limit": 1, "concurrency_options": {"collision_strategy": "CANCEL_NEW"}}
    with up.client() as client:
        client.create_automation(AutomationCore(name=FORMER_AUTOMATION, trigger=trigger, actions=[DoNothing()]))
        analysis = client.read_deployment_by_name(SCHEDULED[1]).id
        client.request("PATCH", "/deployments/{id}", path_params={"id": analysis}, json=limit)
        assert client.read_deployment(analysis).global_concurrency_limit.limit == 1
        done = up.command("deploy")
        assert done.returncode == 0, done.stderr
        assert not client.read_automations_by_name(FORMER_AUTOMATION)
        assert client.read_deployment(analysis).global_concurrency_limit is None


def test_killed_worker_is_restarted(up: Up) -> None:
    worker = up.child("hybrid_ml.cli worker")
    worker.kill()
    wait_for("the end of the worker", lambda: not worker.is_running() or worker.status() == psutil.STATUS_ZOMBIE)
    again = up.child("hybrid_ml.cli worker")
    assert again.pid != worker.pid
    assert up.wait_for_end(up.trigger(**AWAKE)).state.type.value == "COMPLETED"
    assert "SIGKILL" in up.log.read_text()


def test_failed_restart_is_tried_again_later() -> None:
    """As when memory or processes are exhausted; a missing program causes the same error here."""
    lines: list[str] = []
    supervisor = Supervisor(lambda _, line: lines.append(line))
    service = SupervisedProcess("worker", ["true"], dict(os.environ))
    supervisor.start(service)
    service.command = ["no-such-program"]
    wait_for("the start that fails", lambda: supervisor.watch(0.1) or any("does not start" in line for line in lines))
    service.command = ["echo", "back"]
    wait_for("the next start", lambda: supervisor.watch(0.1) or "back" in lines)
    supervisor.stop(lambda: True)
    assert lines[:3] == [
        "has ended (exit code 0); it starts again in 1 s",
        "does not start (No such file or directory); it starts again in 2 s",
        "back",
    ]


def test_swallowed_interrupt_is_raised_again() -> None:
    stop = Stop()
    with pytest.raises(KeyboardInterrupt):
        stop(signal.SIGTERM)
    stop(signal.SIGTERM)  # too early: the first interrupt is still pending
    with pytest.raises(KeyboardInterrupt):
        stop.check()
    stop.requested_at -= INTERRUPT_SECONDS + 1
    with pytest.raises(KeyboardInterrupt):
        stop(signal.SIGTERM)
    stop.is_stopping = True
    assert not stop.stop_at_once
    stop(signal.SIGTERM)
    assert stop.stop_at_once


def test_up_stops_without_leftovers_and_starts_again(tmp_path: Path) -> None:
    folder, port = _make_accessible(tmp_path), free_port()
    secret = "somebody:something"
    first = start_up(folder, port, PREFECT_SERVER_API_AUTH_STRING=secret)
    assert first.authentication == secret, "the user's own string is used, and saved for commands in other shells"
    text = first.command("status")
    assert "analysis" in text.stdout, text.stderr
    assert secret not in first.log.read_text() + text.stdout + text.stderr
    children = psutil.Process(first.process.pid).children(recursive=True)
    first.process.send_signal(signal.SIGINT)
    first.process.send_signal(signal.SIGINT)  # a second interrupt has no effect
    assert first.process.wait(60) == 0
    assert not [process for process in children if process.is_running() and process.status() != psutil.STATUS_ZOMBIE]
    assert not list((folder / "data" / "postgres").glob("postmaster.pid"))
    second = start_up(folder, port, PREFECT_SERVER_API_AUTH_STRING=secret)
    stop(second)
    assert "Traceback" not in second.log.read_text()


def test_closed_terminal_stops_up_cleanly(tmp_path: Path) -> None:
    folder, cleanup = _make_accessible(tmp_path), ExitStack()
    (folder / "home").mkdir()
    terminal, terminal_end = pty.openpty()
    command = [PROGRAM, "up", "--port", str(free_port())]
    process = subprocess.Popen(
        command,
        cwd=ROOT,
        env=environment_of(folder),
        stdin=terminal_end,
        stdout=terminal_end,
        stderr=terminal_end,
        start_new_session=True,
        preexec_fn=_accept_hangup,  # noqa: PLW1509  # there is one thread
    )
    cleanup.callback(process.kill)
    os.close(terminal_end)
    text = b""
    with cleanup:
        while b"Ctrl-C stops" not in text:
            text += os.read(terminal, 4096)
        children = psutil.Process(process.pid).children(recursive=True)
        os.close(terminal)
        process.send_signal(signal.SIGHUP)
        assert process.wait(60) == 0
    assert not [process for process in children if process.is_running() and process.status() != psutil.STATUS_ZOMBIE]
    assert not list((folder / "data" / "postgres").glob("postmaster.pid"))


def _accept_hangup() -> None:
    """The tests may run under nohup, whose children ignore SIGHUP."""
    signal.signal(signal.SIGHUP, signal.SIG_DFL)


def _make_accessible(folder: Path) -> Path:
    for path in (folder, folder.parent, folder.parent.parent):
        path.chmod(0o755)
    return folder


def refused(tmp_path: Path, *arguments: str, **variables: str) -> str:
    """The message of a `hybrid-ml up` that does not start."""
    (tmp_path / "home").mkdir(exist_ok=True)
    not_running = Up(None, environment_of(_make_accessible(tmp_path), **variables), tmp_path / "log", "")
    done = not_running.command("up", *arguments)
    assert done.returncode in (1, 2), done.stdout + done.stderr
    assert "Traceback" not in done.stderr
    return done.stderr


@pytest.mark.parametrize("string", ["no-colon", ":", "user:"])
def test_incomplete_authentication_string_is_refused_before_anything_starts(tmp_path: Path, string: str) -> None:
    refusal = refused(tmp_path, PREFECT_SERVER_API_AUTH_STRING=string)
    assert "PREFECT_SERVER_API_AUTH_STRING is not USER:PASSWORD" in refusal
    assert not (tmp_path / "data" / "postgres").exists()


def test_wildcard_host_requires_an_address_for_browsers(tmp_path: Path) -> None:
    text = refused(tmp_path, "--host", "::", PREFECT_SERVER_API_AUTH_STRING="user:password")
    assert "PREFECT_UI_API_URL=http://ADDRESS:4200/api" in text


def test_address_for_browsers_may_be_set_by_the_server_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PREFECT_SERVER_UI_API_URL", "http://192.0.2.1:4200/api")
    check_browsers("::", 4200)


def test_invalid_connection_string_is_refused_before_anything_starts(tmp_path: Path) -> None:
    text = refused(tmp_path, NEON_CONN_STR="nonsense")
    assert "NEON_CONN_STR is not a connection string" in text
    assert "server" not in text
    assert not (tmp_path / "data" / "postgres").exists()


def test_port_in_use_is_refused_with_remedy(tmp_path: Path) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = str(other.getsockname()[1])
        text = refused(tmp_path, "--port", port)
    assert port in text
    assert "--port" in text
    assert "--port 0" in refused(tmp_path, "--port", "0")


def test_configured_server_that_does_not_answer_is_named(tmp_path: Path) -> None:
    address = f"http://127.0.0.1:{free_port()}/api"
    started = time.monotonic()
    assert address in refused(tmp_path, PREFECT_API_URL=address)
    assert time.monotonic() - started < 60


class OtherServer(BaseHTTPRequestHandler):
    """A server that answers everything with a page."""

    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "text/html")
        self.end_headers()
        self.wfile.write(b"<h1>hello</h1>")

    def log_message(self, *_: object) -> None:
        """No log."""


def test_other_http_server_is_not_taken_for_prefect() -> None:
    with ThreadingHTTPServer(("127.0.0.1", 0), OtherServer) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        assert server_problem(f"http://127.0.0.1:{server.server_port}/api") == "the server there is no Prefect server"
        server.shutdown()


@pytest.mark.parametrize(
    "content", ["deployments:\n  - name: [", "name: x", "deployments: 7", "deployments:\n  - name: x", ""]
)
def test_invalid_prefect_yaml_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: str) -> None:
    (tmp_path / "prefect.yaml").write_text(content)
    monkeypatch.setattr("deployments.provision.deploy.project_folder", lambda: tmp_path)
    with pytest.raises(BadInput, match=r"prefect\.yaml must list deployments"):
        stated_deployments()


def test_missing_or_wrong_work_pool_is_refused(up: Up) -> None:
    with up.client() as client:
        pool = client.read_work_pool(POOL)
        check_pool()
        client.create_work_pool(WorkPoolCreate(name="other", type="docker"))
        with pytest.MonkeyPatch.context() as patch, pytest.raises(BadInput, match="is of type docker"):
            patch.setattr("deployments.provision.deploy.POOL", "other")
            check_pool()
        client.delete_work_pool("other")
        with pytest.MonkeyPatch.context() as patch, pytest.raises(BadInput, match="hybrid-ml deploy"):
            patch.setattr("deployments.provision.deploy.POOL", "other")
            check_pool()
    assert pool.type == "process"


def test_status_without_server_names_next_commands(tmp_path: Path) -> None:
    (tmp_path / "home").mkdir()
    done = Up(None, environment_of(_make_accessible(tmp_path)), tmp_path / "log", "").command("status")
    assert done.returncode == 1
    assert "hybrid-ml up" in done.stdout
    assert "hybrid-ml backfill" in done.stdout


def test_deployments_have_the_version_of_the_project() -> None:
    deployments = yaml.safe_load((ROOT / "prefect.yaml").read_text())["deployments"]
    project = (ROOT / "pyproject.toml").read_text()
    assert all(f'version = "{item["version"]}"' in project for item in deployments)
    assert all("hybrid-ml" in item["tags"] and item["description"] for item in deployments)
