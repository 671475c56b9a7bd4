"""The compose file and the image: sound by their schema, with commands and settings that exist; no engine needed."""

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import httpx
import pytest

from deployments.service.server import SERVER_SETTINGS
from tests.conftest import ROOT
from tests.ways.files import COMPOSE, DOCKERFILE, read

SERVICES: dict[str, dict[str, Any]] = read(COMPOSE)["services"]
OURS = {name: service for name, service in SERVICES.items() if "build" in service}


def test_the_schema_holds() -> None:
    program = Path(sys.executable).with_name("check-jsonschema")
    command = [program, "--builtin-schema", "vendor.compose-spec", COMPOSE]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


def test_no_password_stands_in_it_and_a_missing_one_is_said() -> None:
    text = COMPOSE.read_text()
    for name in ("POSTGRES_PASSWORD", "PREFECT_AUTH_STRING"):
        assert re.search(rf"\$\{{{name}:\?set {name} in \.env", text)
    secrets = re.findall(r"(\w*(?:PASSWORD|AUTH_STRING|TOKEN|CONN_STR)): (.*)", text)
    assert len(secrets) >= 4
    assert [name for name, value in secrets if "${" not in value] == []
    in_addresses = re.findall(r"://\w+:(.*)@", text)
    assert len(in_addresses) == 2
    assert [password for password in in_addresses if not re.fullmatch(r"\$\{[^}]+\}", password)] == []


def test_nothing_listens_beyond_this_machine() -> None:
    published = [port for service in SERVICES.values() for port in service.get("ports", [])]
    assert len(published) == 1
    assert published[0].startswith("127.0.0.1:")
    assert SERVICES["server"]["environment"]["PREFECT_SERVER_API_AUTH_STRING"].startswith("${PREFECT_AUTH_STRING:?")


def test_its_server_has_the_settings_of_up() -> None:
    stated = SERVICES["server"]["environment"]
    assert {name: stated.get(name) for name in SERVER_SETTINGS} == SERVER_SETTINGS


def test_services_start_in_order_and_come_back() -> None:
    for service in SERVICES.values():
        for other, needed in service.get("depends_on", {}).items():
            if needed["condition"] == "service_healthy":
                assert "test" in SERVICES[other]["healthcheck"]
            else:
                assert needed["condition"] == "service_completed_successfully"
                assert SERVICES[other]["restart"].startswith("on-failure")
    assert {name for name, service in SERVICES.items() if service["restart"] == "unless-stopped"} == set(SERVICES) - {
        "set-up"
    }
    assert SERVICES["bot"]["profiles"] == ["telegram"]


def test_the_two_databases_are_those_the_services_ask_for() -> None:
    created = (ROOT / "deployments" / "compose" / "create_prefect_database.sql").read_text()
    requested = SERVICES["server"]["environment"]["PREFECT_SERVER_DATABASE_CONNECTION_URL"]
    assert f"CREATE DATABASE {requested.rsplit('/', 1)[1]};" in created
    ours = SERVICES["worker"]["environment"]["NEON_CONN_STR"].rsplit("/", 1)[1]
    assert ours == SERVICES["database"]["environment"]["POSTGRES_DB"]


def test_every_volume_is_a_folder_of_the_image_that_its_user_may_write() -> None:
    made = re.search(r"install --directory --owner hybrid_ml --group hybrid_ml (.*)", DOCKERFILE.read_text())
    assert made
    for service in OURS.values():
        for volume in service.get("volumes", []):
            name, _, folder = volume.partition(":")
            assert name in read(COMPOSE)["volumes"]
            assert folder in made[1].split()


def test_the_image_holds_what_the_service_needs_and_no_secret() -> None:
    kept = set(re.findall(r"^!(\S+)", (ROOT / ".dockerignore").read_text(), flags=re.MULTILINE))
    assert {"flows", "hybrid_ml", "tasks", "deployments", "prefect.yaml", "pyproject.toml", "requirements.lock"} <= kept
    assert not {name for name in kept if name.startswith((".env", ".git", ".data"))}
    lines = DOCKERFILE.read_text().splitlines()
    assert [line for line in lines if line.startswith("USER")] == ["USER 10001:10001"]
    assert "--require-hashes -r requirements.lock" in DOCKERFILE.read_text()


@pytest.mark.parametrize(
    ("url", "text"), [("", "PREFECT_API_URL is not set"), ("http://127.0.0.1:9/api", "not answer")]
)
def test_a_worker_that_cannot_be_asked_for_is_not_healthy(url: str, text: str) -> None:
    done = _health(url)
    assert done.returncode == 1
    assert text in done.stderr


def test_a_container_is_healthy_while_the_server_hears_of_a_worker(prefect_api: str) -> None:
    """In a pool of its own: the server is the whole session's."""
    pools, name = f"{prefect_api}/work_pools", "health"
    httpx.post(f"{pools}/", json={"name": name, "type": "process"}).raise_for_status()
    assert f"no worker of the pool {name} is online" in _health(prefect_api, name).stderr
    httpx.post(f"{pools}/{name}/workers/heartbeat", json={"name": "container"}).raise_for_status()
    assert _health(prefect_api, name).returncode == 0
    httpx.delete(f"{pools}/{name}").raise_for_status()


def _health(url: str, *pool: str) -> subprocess.CompletedProcess:
    return subprocess.run(
        [sys.executable, ROOT / "deployments" / "service" / "worker_health.py", *pool],
        env={**os.environ, "PREFECT_API_URL": url},
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
