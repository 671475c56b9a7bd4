"""prefect.yaml: parameters fit the flows, schedules are those promised."""

from importlib import import_module
from inspect import signature

import pytest
import yaml
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
    """A real server makes runs of them in tests/operating."""
    stated = {d["name"]: [(s.get("cron"), s.get("interval")) for s in d["schedules"]] for d in DEPLOYMENTS}
    assert stated == {
        "weekly-training": [("0 0 * * 0", None)],
        "analysis": [(None, 600)],
        "review": [("0 4 * * *", None)],
        "backup": [("30 2 * * *", None)],
        "backfill": [],
        "replay": [],
    }
    assert {s["timezone"] for d in DEPLOYMENTS for s in d["schedules"]} == {"UTC"}


def test_no_limit_of_the_server_stands_between_a_slot_and_its_run() -> None:
    """Leases of a limit lapse while a machine sleeps; a lock of the database keeps two runs from one symbol."""
    assert not [deployment["name"] for deployment in DEPLOYMENTS if "concurrency_limit" in deployment]
