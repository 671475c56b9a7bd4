"""`hybrid-ml up`, `status` and `deploy`: start, schedules, status, refusals and stop."""

import json
import os
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from prefect.client.schemas.actions import WorkPoolCreate
from prefect.client.schemas.filters import FlowRunFilter
from prefect.client.schemas.objects import FlowRun
from prefect.events.actions import DoNothing
from prefect.events.schemas.automations import AutomationCore, EventTrigger, Posture

from deployments.provision.automations import FORMER_AUTOMATION
from deployments.provision.deploy import check_pool, reschedule_runs, set_up
from deployments.provision.names import POOL
from deployments.service.supervisor import SupervisedProcess, Supervisor
from deployments.status.collect import collect_status
from hybrid_ml.errors import BadInput, ServiceUnavailable
from tests.up import Up, wait_for
from tests.up_schedules import is_slot, runs_every, schedules_on

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


def test_status_and_check_show_server_runs_symbols_sizes_and_low_disk(up: Up, completed: FlowRun) -> None:
    printed = up.command("status", "--json")
    assert printed.returncode == 0, printed.stdout + printed.stderr
    facts = json.loads(printed.stdout)
    assert facts["server"] == up.api_url
    assert facts["workers"]
    assert {deployment["name"] for deployment in facts["deployments"]} == {*SCHEDULED, *BY_HAND}
    analysis = next(deployment for deployment in facts["deployments"] if deployment["name"] == SCHEDULED[1])
    last = last_ended_run(up, SCHEDULED[1])
    assert (analysis["last"]["name"], analysis["last"]["state"]) == (last.name, last.state.name)
    assert facts["symbols"][0]["symbol"] == "DEMO"
    assert facts["symbols"][0]["model_version"].startswith("DEMO@")
    sizes = facts["sizes"]
    assert sizes["prefect_database_mb"] > 1
    assert sizes["data_folder_mb"] > sizes["database_mb"] + sizes["prefect_database_mb"]
    assert min(sizes["logs_mb"], sizes["models_folder_mb"]) >= 0
    assert all(disk["free_mb"] > 0 and not disk["is_low"] for disk in sizes["disks"])
    low = {"HYBRID_ML_MIN_FREE_MB": "900000000", "PREFECT_API_URL": up.api_url}
    status = up.command("status", **low)
    assert status.returncode == 1, "a disk is low"
    words = ("analysis", "DEMO", "embedded PostgreSQL", up.api_url, "✓ server", "disk usage")
    assert [word for word in words if word not in status.stdout] == []
    assert "less than 900,000,000 MB" in " ".join(status.stdout.split())
    check = " ".join(up.command("check", HYBRID_ML_MIN_FREE_MB="900000000").stdout.split())
    assert f"at {up.api_url}" in check
    assert "Prefect's" in check
    assert "less than 900,000,000 MB (HYBRID_ML_MIN_FREE_MB)" in check


def last_ended_run(up: Up, deployment: str) -> FlowRun:
    with up.client() as client:
        chosen = FlowRunFilter(deployment_id={"any_": [client.read_deployment_by_name(deployment).id]})
        runs = client.read_flow_runs(flow_run_filter=chosen)
    return max((run for run in runs if run.end_time), key=lambda run: run.end_time)


def test_run_by_hand_is_named_by_its_symbol(completed: FlowRun) -> None:
    assert completed.name == f"analysis DEMO {completed.expected_start_time:%Y-%m-%d %H:%M}", (
        "one symbol is named, not `all symbols`"
    )


def test_command_uses_the_running_server(up: Up) -> None:
    begin = datetime.now(UTC)
    done = up.command("repair", "--json")
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


def test_deploy_keeps_switched_off_schedules_and_removes_what_earlier_versions_and_others_added(up: Up) -> None:
    """The former automation treats a pause as a crash, and the leases of the former limit expire in one."""
    trigger = EventTrigger(expect={"prefect.flow-run.*"}, posture=Posture.Reactive, threshold=1, within=timedelta(0))
    limit = {"concurrency_limit": 1, "concurrency_options": {"collision_strategy": "CANCEL_NEW"}}
    with up.client() as client, runs_every(up, 24 * 60, in_seconds=3_600):
        assert not client.read_deployment_by_name("review/review").schedules[0].active
        client.create_automation(AutomationCore(name=FORMER_AUTOMATION, trigger=trigger, actions=[DoNothing()]))
        analysis = client.read_deployment_by_name(SCHEDULED[1])
        assert len(analysis.schedules) == 2
        client.request("PATCH", "/deployments/{id}", path_params={"id": analysis.id}, json=limit)
        assert client.read_deployment(analysis.id).global_concurrency_limit.limit == 1
        done = up.command("deploy")
        assert done.returncode == 0, done.stderr
        assert not client.read_automations_by_name(FORMER_AUTOMATION)
        analysis, review = (client.read_deployment_by_name(name) for name in SCHEDULED[1:3])
        assert analysis.global_concurrency_limit is None
        assert [schedule.slug for schedule in analysis.schedules] == ["every-ten-minutes"]
        assert [schedule.active for schedule in review.schedules] == [False]


def test_slots_due_during_deployment_are_created_once(up: Up) -> None:
    """Tested with the slots of the hour before: each is created once, also by a second call. None of them runs."""
    since, worker = datetime.now(UTC) - timedelta(hours=1), up.child("hybrid_ml.cli worker")
    worker.suspend()
    try:
        with schedules_on(up, "analysis/analysis"), up.client() as client:
            for _ in range(2):
                reschedule_runs(client, since)
            deployment = client.read_deployment_by_name("analysis/analysis").id
            hour = {"after_": since, "before_": since + timedelta(hours=1)}
            chosen = FlowRunFilter(deployment_id={"any_": [deployment]}, expected_start_time=hour)
            runs = [run for run in client.read_flow_runs(flow_run_filter=chosen) if run.auto_scheduled]
            slots = [run.expected_start_time for run in runs if is_slot(run.expected_start_time)]
            assert len(slots) == len(set(slots)) == 6
            for run in runs:
                if not run.state.is_final():
                    client.delete_flow_run(run.id)
    finally:
        worker.resume()


def test_runs_are_rescheduled_after_a_failed_deployment(up: Up, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail() -> None:
        raise ServiceUnavailable("half of it")

    calls: list[datetime] = []
    monkeypatch.setattr("deployments.provision.deploy.deploy", fail)
    monkeypatch.setattr("deployments.provision.deploy.reschedule_runs", lambda _, since: calls.append(since))
    with up.as_own_server(), pytest.raises(ServiceUnavailable, match="half of it"):
        set_up()
    assert len(calls) == 1


def test_status_reports_an_invalid_prefect_yaml(up: Up, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "prefect.yaml").write_text("deployments: 7")
    monkeypatch.setattr("deployments.provision.deploy.project_folder", lambda: tmp_path)
    monkeypatch.setattr(
        "deployments.status.collect.load_configuration_for_command", lambda: None
    )  # it would stay in effect after this test
    with up.as_own_server():
        text = collect_status(datetime.now(UTC))
    assert any("prefect.yaml must list deployments" in problem for problem in text.problems)
    assert text.server == up.api_url


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


def test_missing_or_wrong_work_pool_is_refused(up: Up) -> None:
    with up.as_own_server(), up.client() as client:
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
