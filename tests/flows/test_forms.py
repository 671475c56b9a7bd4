"""Forms of the Prefect UI: values that the server accepts and refuses, and its messages."""

import logging
import os
from collections.abc import Iterator
from typing import Any

import pytest
import yaml
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.exceptions import PrefectHTTPStatusError

from flows.analysis import analysis
from flows.backfill import backfill
from flows.review import review
from flows.weekly_training import weekly_training
from tests.conftest import ROOT

FLOWS = {"weekly-training": weekly_training, "analysis": analysis, "review": review, "backfill": backfill}
STATED = {
    item["name"]: item["parameters"] for item in yaml.safe_load((ROOT / "prefect.yaml").read_text())["deployments"]
}


@pytest.fixture(scope="module")
def deployments(prefect_api: str) -> Iterator[dict[str, Any]]:
    """Deployments of the flows with the parameters of prefect.yaml, deleted after these tests.

    Their names are of this process: others run tests of this file on the same server.
    """
    with get_client(sync_client=True) as client:
        created = {
            name: client.read_deployment(
                flow.to_deployment(f"form of {name}, {os.getpid()}", parameters=STATED[name]).apply()
            )
            for name, flow in FLOWS.items()
        }
        yield created
        for deployment in created.values():
            client.delete_deployment(deployment.id)


def create_run(client: SyncPrefectClient, deployment: Any, request: dict[str, Any]) -> Any:
    """Create a run as the form does, and delete it before a worker takes it."""
    run = client.create_flow_run_from_deployment(deployment.id, parameters={"request": request})
    client.delete_flow_run(run.id)
    return run.parameters["request"]


@pytest.mark.parametrize(
    ("name", "field", "value", "reason"),
    [
        ("analysis", "min_confidence", 1.7, "1.7 is greater than the maximum of 1"),
        ("analysis", "fine_tune_rows", 5, "5 is less than the minimum of 500"),
        ("analysis", "max_signals", -1, "-1 is less than the minimum of 0"),
        ("analysis", "preset", "reckless", "'reckless' is not one of ['conservative', 'balanced'"),
        ("analysis", "sleep_window", "9-17", "'9-17' does not match"),
        ("weekly-training", "limit", 10, "10 is less than the minimum of 2000"),
        ("weekly-training", "week", "two", "'two' is not"),
        ("review", "days", 0, "0 is less than the minimum of 1"),
        ("backfill", "bars", 0, "0 is less than the minimum of 1"),
    ],
)
def test_server_refuses_out_of_bounds_values_with_field_and_bound(
    deployments: dict[str, Any], name: str, field: str, value: Any, reason: str
) -> None:
    with get_client(sync_client=True) as client, pytest.raises(PrefectHTTPStatusError) as refused:
        create_run(client, deployments[name], {field: value})
    assert f"'request.{field}'. Failure reason: {reason}" in refused.value.response.json()["detail"]


@pytest.mark.parametrize("name", FLOWS)
def test_form_defaults_and_empty_fields_are_accepted(deployments: dict[str, Any], name: str) -> None:
    deployment = deployments[name]
    schema = deployment.parameter_openapi_schema
    fields = next(
        definition for definition in schema["definitions"].values() if definition["title"].endswith("Request")
    )["properties"]
    defaults = {field: definition["default"] for field, definition in fields.items() if "default" in definition}
    requested = {**defaults, **deployment.parameters.get("request", {})}
    empty = {field: None for field in fields if field not in requested}
    with get_client(sync_client=True) as client:
        assert create_run(client, deployment, requested) == requested
        create_run(client, deployment, {**requested, **empty})


def test_conflicting_fields_fail_the_run_with_a_short_message(
    prefect_api: str, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO):
        state: Any = weekly_training({"limit": 5_000, "week": 2}, return_state=True)  # type: ignore[arg-type]
    assert state.name == "Failed"
    assert "--limit 5000 and --week 2 exclude each other; state one of them" in state.message
    assert "pydantic.dev" not in state.message + caplog.text
    assert len(state.message) < 300
