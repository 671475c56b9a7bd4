"""Setting up the Prefect server: the pool, the deployments of prefect.yaml, blocks.

A second call changes nothing that a person changed: a paused schedule stays paused, a block keeps its value.
"""

import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import yaml
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.actions import WorkPoolCreate
from prefect.client.schemas.objects import WorkPool
from prefect.client.schemas.responses import DeploymentResponse
from prefect.exceptions import ObjectNotFound
from prefect.workers.process import ProcessWorker

from deployments.provision.automations import remove_former_automation
from deployments.provision.blocks import set_up_blocks
from deployments.provision.names import POOL
from deployments.provision.server_api import format_http_error
from hybrid_ml.config.settings import project_folder
from hybrid_ml.errors import BadInput, ServiceUnavailable

DEPLOY_SECONDS = 180


def set_up() -> list[str]:
    """Update the server; returns what exists now, and what was created. Idempotent."""
    try:
        with get_client(sync_client=True) as client:
            set_up_pool(client)
            remove_other_schedules(client)  # first: where one has no slug, `prefect deploy` creates all of them again
            began = datetime.now(UTC)
            try:
                deploy()
            finally:  # an incomplete deployment has deleted runs too
                reschedule_runs(client, began)
            remove_former_automation(client)
            made = set_up_blocks(client)
    except httpx.HTTPError as error:
        raise ServiceUnavailable(format_http_error(error)) from None
    return [f"deployment {name}" for name, _ in stated_deployments()] + made


def set_up_pool(client: SyncPrefectClient) -> None:
    """Create the work pool where there is none of the name; one of another type is refused."""
    try:
        pool = client.read_work_pool(POOL)
    except ObjectNotFound:
        template = ProcessWorker.get_default_base_job_template()
        client.create_work_pool(WorkPoolCreate(name=POOL, type=ProcessWorker.type, base_job_template=template))
        return
    _check_type(pool)


def _check_type(pool: WorkPool) -> None:
    if pool.type != ProcessWorker.type:
        raise BadInput(f"the work pool {POOL} is of type {pool.type}, not a process pool; delete it or rename it")


def check_pool() -> None:
    """Raises HybridMLError where a worker could not use the pool. A server that does not answer is ignored here."""
    try:
        with get_client(sync_client=True) as client:
            _check_type(client.read_work_pool(POOL))
    except ObjectNotFound:
        raise BadInput(f"there is no work pool {POOL} on the server; run `hybrid-ml deploy`") from None
    except httpx.HTTPStatusError as error:
        raise ServiceUnavailable(format_http_error(error)) from None
    except httpx.TransportError:
        pass


def deploy() -> None:
    """Run `prefect deploy --all`. Raises ServiceUnavailable with its output when it fails."""
    command = [sys.executable, "-m", "prefect", "--no-prompt", "deploy", "--all"]
    try:
        done = subprocess.run(  # noqa: S603  # our own interpreter
            command, cwd=prefect_yaml().parent, capture_output=True, text=True, timeout=DEPLOY_SECONDS, check=False
        )
    except subprocess.TimeoutExpired:
        raise ServiceUnavailable(f"`prefect deploy --all` took longer than {DEPLOY_SECONDS} s; try again") from None
    if done.returncode:
        text = (done.stdout + done.stderr).strip()
        raise ServiceUnavailable(f"`prefect deploy --all` ended with {done.returncode}:\n{text}")


def remove_other_schedules(client: SyncPrefectClient) -> None:
    """Delete the server's schedules that prefect.yaml no longer states, which `prefect deploy` keeps."""
    for deployment, stated in _deployed(client):
        wanted = {schedule["slug"] for schedule in stated.get("schedules", [])}
        for schedule in deployment.schedules:
            if schedule.slug not in wanted:
                client.delete_deployment_schedule(deployment.id, schedule.id)


def reschedule_runs(client: SyncPrefectClient, since: datetime) -> None:
    """Let the server create the runs of all schedules from `since` on; existing ones are not changed.

    A deployment deletes future runs, and the server creates them again some seconds later: a slot
    in between would be missed.
    """
    for deployment, _ in _deployed(client):
        if not deployment.paused:
            body = {"start_time": since.isoformat()}
            client.request("POST", "/deployments/{id}/schedule", path_params={"id": deployment.id}, json=body)


def _deployed(client: SyncPrefectClient) -> Iterator[tuple[DeploymentResponse, dict[str, Any]]]:
    """Each deployment of prefect.yaml that the server has, and its entry in prefect.yaml."""
    for name, stated in stated_deployments():
        try:
            deployment = client.read_deployment_by_name(name)
        except ObjectNotFound:
            continue
        yield deployment, stated


def stated_deployments() -> list[tuple[str, dict[str, Any]]]:
    """Each deployment of prefect.yaml as FLOW/NAME, and its entry."""
    try:
        return [
            (_full_name(deployment), deployment)
            for deployment in yaml.safe_load(prefect_yaml().read_text())["deployments"]
        ]
    except (yaml.YAMLError, KeyError, TypeError) as error:
        message = " ".join(str(error).split())
        raise BadInput(f"{prefect_yaml()} must list deployments, each with name and entrypoint: {message}") from None


def _full_name(stated: dict[str, Any]) -> str:
    flow = Path(stated["entrypoint"].split(":")[0]).stem.replace("_", " ")
    return f"{flow}/{stated['name']}"


def prefect_yaml() -> Path:
    """The path of prefect.yaml; raises BadInput where the project is not a checkout."""
    path = project_folder() / "prefect.yaml"
    if not path.is_file():
        raise BadInput(f"there is no {path}; run this in a checkout of the project")
    return path
