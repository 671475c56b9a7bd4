"""prefect.yaml: parameters fit the flows, and a real server really schedules them."""

import os
import subprocess
import sys
import time
from importlib import import_module
from inspect import signature

import pytest
import yaml
from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import FlowRunFilter, FlowRunFilterDeploymentId
from pydantic import BaseModel

from tests.conftest import ROOT

DEPLOYMENTS = yaml.safe_load((ROOT / "prefect.yaml").read_text())["deployments"]


@pytest.mark.parametrize("deployment", DEPLOYMENTS, ids=lambda deployment: deployment["name"])
def test_parameters_fit_the_flow(deployment: dict) -> None:
    module, name = deployment["entrypoint"].split(".py:")
    flow = getattr(import_module(module.replace("/", ".")), name)
    assert set(deployment["parameters"]) <= set(signature(flow.fn).parameters)
    for parameter, value in deployment["parameters"].items():
        request: type[BaseModel] = signature(flow.fn).parameters[parameter].annotation
        assert request.model_validate(value)


def test_the_schedules_are_those_promised() -> None:
    crons = {d["name"]: [s["cron"] for s in d["schedules"]] for d in DEPLOYMENTS}
    assert crons["weekly-training"] == ["0 0 * * 0"]
    assert crons["analysis"] == ["*/10 * * * *"]
    assert crons["review"] == ["0 4 * * *"]


def test_a_real_server_schedules_every_deployment_that_has_a_schedule(prefect_api: str) -> None:
    for arguments in (["work-pool", "create", "hybrid-ml", "--type", "process"], ["--no-prompt", "deploy", "--all"]):
        done = subprocess.run(
            [sys.executable, "-m", "prefect", *arguments],
            cwd=ROOT,
            env={**os.environ, "PREFECT_API_URL": prefect_api},
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr
    expected = {d["name"] for d in DEPLOYMENTS if d["schedules"]}
    with get_client(sync_client=True) as client:
        deployments = {d.name: d.id for d in client.read_deployments()}
        assert set(deployments) == {d["name"] for d in DEPLOYMENTS}
        end = time.monotonic() + 180
        scheduled: set[str] = set()
        while scheduled != expected and time.monotonic() < end:
            time.sleep(0.5)
            for name, identity in deployments.items():
                chosen = FlowRunFilter(deployment_id=FlowRunFilterDeploymentId(any_=[identity]))
                if any(run.auto_scheduled for run in client.read_flow_runs(flow_run_filter=chosen)):
                    scheduled.add(name)
    assert scheduled == expected
