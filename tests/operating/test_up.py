"""`hybrid-ml up`, `status`, `deploy`: one command up, on time, seen, and down again without a trace."""

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
from deployments.service.supervisor import Service, Supervisor
from deployments.service.up import INTERRUPT_SECONDS, Stop
from deployments.status.collect import look
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
    start_up,
    stop,
    wait_for,
)

SCHEDULED = ("weekly training/weekly-training", "analysis/analysis", "review/review", "backup/backup")
BY_HAND = ("backfill/backfill", "replay/replay")


def test_every_deployment_is_ready_and_has_its_runs(up: Up) -> None:
    with up.client() as client:
        states = {name: client.read_deployment_by_name(name).status.value for name in (*SCHEDULED, *BY_HAND)}
    assert set(states.values()) == {"READY"}
    times = {name: [run.expected_start_time for run in up.scheduled(name)] for name in SCHEDULED}
    assert all((moment.second, moment.minute % 10) == (5, 0) for moment in times["analysis/analysis"])
    assert all((moment.weekday(), moment.hour, moment.minute) == (6, 0, 0) for moment in times[SCHEDULED[0]])
    assert all((moment.hour, moment.minute) == (4, 0) for moment in times["review/review"])
    assert all((moment.hour, moment.minute) == (2, 30) for moment in times["backup/backup"])
    assert all(times.values())
    assert not any(up.scheduled(name) for name in BY_HAND)


def test_a_scheduled_analysis_completes_unattended_and_on_time(up: Up) -> None:
    up.wait_for_our_turn(30)
    with runs_every(up):
        run = up.ended(up.due_soon())
    assert run.state.type.value == "COMPLETED", run.state
    assert run.auto_scheduled
    assert (run.start_time - run.expected_start_time).total_seconds() < 5


def test_a_run_by_hand_answers_and_is_told_by_status(up: Up) -> None:
    up.wait_for_our_turn(60)
    run = up.ended(up.trigger(**AWAKE))
    assert run.state.type.value == "COMPLETED", run.state
    assert run.name == f"analysis DEMO {run.expected_start_time:%Y-%m-%d %H:%M}", "not `all symbols`: it is one"
    facts = json.loads(up.command("status", "--json").stdout)
    assert facts["server"] == up.api_url
    assert facts["workers"]
    assert {deployment["name"] for deployment in facts["deployments"]} == {*SCHEDULED, *BY_HAND}
    analysis = next(deployment for deployment in facts["deployments"] if deployment["name"] == "analysis/analysis")
    assert analysis["last"]["state"] == run.state.name
    assert facts["symbols"][0]["symbol"] == "DEMO"
    assert facts["symbols"][0]["model_version"].startswith("DEMO@")
    shown = up.command("status")
    assert shown.returncode == 0, shown.stdout + shown.stderr
    assert all(words in shown.stdout for words in ("analysis", "DEMO", "embedded PostgreSQL", up.api_url))


def test_a_command_uses_the_server_that_is_up(up: Up) -> None:
    begin = datetime.now(UTC)
    done = up.command("analyze", "--fast_mode", "--disable_sleep_window", "--max_bar_age_minutes", "1440", "--json")
    assert done.returncode == 0, done.stderr
    assert "temporary server" not in done.stderr
    ours = FlowRunFilter(deployment_id={"is_null_": True}, tags={"all_": ["hybrid-ml"]}, start_time={"after_": begin})
    with up.client() as client:
        assert len(client.read_flow_runs(flow_run_filter=ours)) == 1


def test_up_again_says_that_it_is_up(up: Up) -> None:
    again = up.command("up")
    assert again.returncode == 0
    assert "up already" in again.stdout
    assert str(up.process.pid) in again.stdout


def test_deploying_again_keeps_what_a_person_changed_and_removes_what_the_file_no_longer_states(up: Up) -> None:
    with up.client() as client:
        review = client.read_deployment_by_name("review/review")
        client.update_deployment_schedule(review.id, review.schedules[0].id, active=False)
    with runs_every(up, 24 * 60, in_seconds=3_600):
        done = up.command("deploy")
        assert done.returncode == 0, done.stderr
        with up.client() as client:
            analysis, review = (client.read_deployment_by_name(name) for name in SCHEDULED[1:3])
            assert [schedule.slug for schedule in analysis.schedules] == ["every-ten-minutes"]
            assert [schedule.active for schedule in review.schedules] == [False]
            client.update_deployment_schedule(review.id, review.schedules[0].id, active=True)


def test_a_slot_that_passed_while_it_deployed_is_not_missed(up: Up) -> None:
    """Those of the hour before stand in for it: made once, however often it is asked for."""
    up.wait_for_our_turn(60)
    since = datetime.now(UTC) - timedelta(hours=1)
    with up.client() as client:
        for _ in range(2):
            reschedule_runs(client, since)
        deployment = client.read_deployment_by_name("analysis/analysis")
        chosen = FlowRunFilter(
            deployment_id={"any_": [deployment.id]}, expected_start_time={"after_": since, "before_": datetime.now(UTC)}
        )
        found = client.read_flow_runs(flow_run_filter=chosen)
    slots = [run.expected_start_time for run in found if run.auto_scheduled and is_slot(run.expected_start_time)]
    assert len(slots) == len(set(slots)) == 6
    for run in found:
        up.ended(run.id)


def test_runs_are_made_again_after_half_a_deployment(up: Up, monkeypatch: pytest.MonkeyPatch) -> None:
    def half() -> None:
        raise ServiceUnavailable("half of it")

    made: list[datetime] = []
    monkeypatch.setattr("deployments.provision.deploy.deploy", half)
    monkeypatch.setattr("deployments.provision.deploy.reschedule_runs", lambda _, since: made.append(since))
    with up.client(), pytest.raises(ServiceUnavailable, match="half of it"):
        set_up()
    assert len(made) == 1


def test_status_tells_a_prefect_yaml_that_states_nothing(
    up: Up, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "prefect.yaml").write_text("deployments: 7")
    monkeypatch.setattr("deployments.provision.deploy.project_folder", lambda: tmp_path)
    monkeypatch.setattr(
        "deployments.status.collect.take_configuration_outside", lambda: None
    )  # it would outlast this test
    with up.client():
        text = look(datetime.now(UTC))
    assert any("prefect.yaml does not state deployments" in problem for problem in text.problems)
    assert text.server == up.api_url


def test_what_earlier_versions_set_up_is_taken_away(up: Up) -> None:
    """Their automation takes a pause for silence, and the leases of their limit lapse in one."""
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


def test_what_ends_is_started_again(up: Up) -> None:
    worker = up.child("hybrid_ml.cli worker")
    worker.kill()
    wait_for("the end of the worker", lambda: not worker.is_running() or worker.status() == psutil.STATUS_ZOMBIE)
    again = up.child("hybrid_ml.cli worker")
    assert again.pid != worker.pid
    assert up.ended(up.trigger(**AWAKE)).state.type.value == "COMPLETED"
    assert "SIGKILL" in up.log.read_text()


def test_what_cannot_be_started_again_is_tried_later() -> None:
    """No memory or no process to be had, for which a program that is not there stands in, is no end of the rest."""
    lines: list[str] = []
    supervisor = Supervisor(lambda _, line: lines.append(line))
    service = Service("worker", ["true"], dict(os.environ))
    supervisor.start(service)
    service.command = ["no-such-program"]
    wait_for("the start that fails", lambda: supervisor.watch(0.1) or any("does not start" in line for line in lines))
    service.command = ["echo", "back"]
    wait_for("the next one", lambda: supervisor.watch(0.1) or "back" in lines)
    supervisor.stop(lambda: True)
    assert lines[:3] == [
        "has ended (exit code 0); it starts again in 1 s",
        "does not start (No such file or directory); it starts again in 2 s",
        "back",
    ]


def test_an_interrupt_that_a_library_swallowed_comes_again() -> None:
    stop = Stop()
    with pytest.raises(KeyboardInterrupt):
        stop(signal.SIGTERM)
    stop(signal.SIGTERM)  # hasty: the first one is on its way
    with pytest.raises(KeyboardInterrupt):
        stop.check()
    stop.asked_at -= INTERRUPT_SECONDS + 1
    with pytest.raises(KeyboardInterrupt):
        stop(signal.SIGTERM)
    stop.is_stopping = True
    assert not stop.hurried
    stop(signal.SIGTERM)
    assert stop.hurried


def test_it_stops_cleanly_and_comes_back_with_its_data(tmp_path: Path) -> None:
    folder, port = _open(tmp_path), free_port()
    secret = "somebody:something"
    first = start_up(folder, port, PREFECT_SERVER_API_AUTH_STRING=secret)
    assert first.authentication == secret, "one of the user's own wins, and is kept for commands in other shells"
    text = first.command("status")
    assert "analysis" in text.stdout, text.stderr
    assert secret not in first.log.read_text() + text.stdout + text.stderr
    below = psutil.Process(first.process.pid).children(recursive=True)
    first.process.send_signal(signal.SIGINT)
    first.process.send_signal(signal.SIGINT)  # a hasty second time does no harm
    assert first.process.wait(60) == 0
    assert not [process for process in below if process.is_running() and process.status() != psutil.STATUS_ZOMBIE]
    assert not list((folder / "data" / "postgres").glob("postmaster.pid"))
    second = start_up(folder, port, PREFECT_SERVER_API_AUTH_STRING=secret)
    stop(second)
    assert "Traceback" not in second.log.read_text()


def test_a_closed_terminal_stops_it_in_order(tmp_path: Path) -> None:
    folder, ours = _open(tmp_path), ExitStack()
    (folder / "home").mkdir()
    terminal, theirs = pty.openpty()
    command = [PROGRAM, "up", "--port", str(free_port())]
    process = subprocess.Popen(
        command,
        cwd=ROOT,
        env=environment_of(folder),
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        start_new_session=True,
        preexec_fn=_hear_of_the_terminal,  # noqa: PLW1509  # there is one thread
    )
    ours.callback(process.kill)
    os.close(theirs)
    text = b""
    with ours:
        while b"Ctrl-C stops" not in text:
            text += os.read(terminal, 4096)
        below = psutil.Process(process.pid).children(recursive=True)
        os.close(terminal)
        process.send_signal(signal.SIGHUP)
        assert process.wait(60) == 0
    assert not [process for process in below if process.is_running() and process.status() != psutil.STATUS_ZOMBIE]
    assert not list((folder / "data" / "postgres").glob("postmaster.pid"))


def _hear_of_the_terminal() -> None:
    """The tests may run under nohup, whose children it keeps from hearing that their terminal closed."""
    signal.signal(signal.SIGHUP, signal.SIG_DFL)


def _open(folder: Path) -> Path:
    for path in (folder, folder.parent, folder.parent.parent):
        path.chmod(0o755)
    return folder


def refused(tmp_path: Path, *arguments: str, **more: str) -> str:
    """What `hybrid-ml up` says when it does not start."""
    (tmp_path / "home").mkdir(exist_ok=True)
    nothing = Up(None, environment_of(_open(tmp_path), **more), tmp_path / "log", "")
    done = nothing.command("up", *arguments)
    assert done.returncode in (1, 2), done.stdout + done.stderr
    assert "Traceback" not in done.stderr
    return done.stderr


@pytest.mark.parametrize("stated", ["no-colon", ":", "user:"])
def test_an_authentication_string_that_is_not_whole_is_refused_before_anything_starts(
    tmp_path: Path, stated: str
) -> None:
    refusal = refused(tmp_path, PREFECT_SERVER_API_AUTH_STRING=stated)
    assert "PREFECT_SERVER_API_AUTH_STRING is not USER:PASSWORD" in refusal
    assert not (tmp_path / "data" / "postgres").exists()


def test_every_address_is_none_that_a_browser_could_be_told(tmp_path: Path) -> None:
    text = refused(tmp_path, "--host", "::", PREFECT_SERVER_API_AUTH_STRING="user:password")
    assert "PREFECT_UI_API_URL=http://ADDRESS:4200/api" in text


def test_the_address_for_browsers_has_two_names(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PREFECT_SERVER_UI_API_URL", "http://192.0.2.1:4200/api")
    check_browsers("::", 4200)


def test_a_connection_string_that_is_none_is_refused_before_anything_starts(tmp_path: Path) -> None:
    text = refused(tmp_path, NEON_CONN_STR="nonsense")
    assert "NEON_CONN_STR is not a connection string" in text
    assert "server" not in text
    assert not (tmp_path / "data" / "postgres").exists()


def test_a_port_in_use_is_named_with_the_remedy(tmp_path: Path) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = str(other.getsockname()[1])
        text = refused(tmp_path, "--port", port)
    assert port in text
    assert "--port" in text
    assert "--port 0" in refused(tmp_path, "--port", "0")


def test_a_given_server_that_does_not_answer_is_named(tmp_path: Path) -> None:
    address = f"http://127.0.0.1:{free_port()}/api"
    started = time.monotonic()
    assert address in refused(tmp_path, PREFECT_API_URL=address)
    assert time.monotonic() - started < 60


class SomethingElse(BaseHTTPRequestHandler):
    """A server that answers everything with a page."""

    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "text/html")
        self.end_headers()
        self.wfile.write(b"<h1>hello</h1>")

    def log_message(self, *_: object) -> None:
        """It says nothing."""


def test_a_server_that_is_not_prefects_is_told_from_one() -> None:
    with ThreadingHTTPServer(("127.0.0.1", 0), SomethingElse) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        assert server_problem(f"http://127.0.0.1:{server.server_port}/api") == "what answers there is no Prefect server"
        server.shutdown()


@pytest.mark.parametrize(
    "written", ["deployments:\n  - name: [", "name: x", "deployments: 7", "deployments:\n  - name: x", ""]
)
def test_a_prefect_yaml_that_states_nothing_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, written: str
) -> None:
    (tmp_path / "prefect.yaml").write_text(written)
    monkeypatch.setattr("deployments.provision.deploy.project_folder", lambda: tmp_path)
    with pytest.raises(BadInput, match=r"prefect\.yaml does not state deployments"):
        stated_deployments()


def test_a_worker_wants_a_pool_of_its_kind(up: Up) -> None:
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


def test_status_where_nothing_runs_says_what_to_do(tmp_path: Path) -> None:
    (tmp_path / "home").mkdir()
    done = Up(None, environment_of(_open(tmp_path)), tmp_path / "log", "").command("status")
    assert done.returncode == 1
    assert "hybrid-ml up" in done.stdout
    assert "hybrid-ml backfill" in done.stdout


def test_the_version_of_the_deployments_is_the_projects() -> None:
    stated = yaml.safe_load((ROOT / "prefect.yaml").read_text())["deployments"]
    project = (ROOT / "pyproject.toml").read_text()
    assert all(f'version = "{item["version"]}"' in project for item in stated)
    assert all("hybrid-ml" in item["tags"] and item["description"] for item in stated)
