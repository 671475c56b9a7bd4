"""prefect.yaml: parameters match the flows, schedules are the documented ones."""

from importlib import import_module
from inspect import signature

import pytest
import yaml
from pydantic import BaseModel

from tests.conftest import ROOT

DEPLOYMENTS = yaml.safe_load((ROOT / "prefect.yaml").read_text())["deployments"]


@pytest.mark.parametrize("deployment", DEPLOYMENTS, ids=lambda deployment: deployment["name"])
def test_deployment_parameters_match_the_flow(deployment: dict) -> None:
    module, name = deployment["entrypoint"].split(".py:")
    flow = getattr(import_module(module.replace("/", ".")), name)
    assert set(deployment["parameters"]) <= set(signature(flow.fn).parameters)
    for parameter, value in deployment["parameters"].items():
        request: type[BaseModel] = signature(flow.fn).parameters[parameter].annotation
        assert request.model_validate(value)


def test_schedules_are_the_documented_ones() -> None:
    """Runs of these schedules on a real server are tested in tests/operating."""
    schedules = {d["name"]: [(s.get("cron"), s.get("interval")) for s in d["schedules"]] for d in DEPLOYMENTS}
    assert schedules == {
        "weekly-training": [("0 0 * * 0", None)],
        "analysis": [(None, 600)],
        "review": [("0 4 * * *", None)],
        "backup": [("30 2 * * *", None)],
        "repair": [("25 * * * *", None)],
        "backfill": [],
        "add-symbols": [],
        "replay": [],
    }
    assert {s["timezone"] for d in DEPLOYMENTS for s in d["schedules"]} == {"UTC"}


def test_deployments_have_no_concurrency_limit() -> None:
    """Leases of a limit expire while a machine sleeps; database locks already exclude two runs of one symbol."""
    assert not [deployment["name"] for deployment in DEPLOYMENTS if "concurrency_limit" in deployment]
