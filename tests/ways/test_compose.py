"""The compose file and the image: valid schema, existing commands and settings; needs no container engine."""

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
OWN_SERVICES = {name: service for name, service in SERVICES.items() if "build" in service}


def test_compose_file_matches_its_schema() -> None:
    program = Path(sys.executable).with_name("check-jsonschema")
    command = [program, "--builtin-schema", "vendor.compose-spec", COMPOSE]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


def test_compose_file_has_no_password_and_requires_it_from_env() -> None:
    text = COMPOSE.read_text()
    for name in ("POSTGRES_PASSWORD", "PREFECT_AUTH_STRING"):
        assert re.search(rf"\$\{{{name}:\?set {name} in \.env", text)
    secrets = re.findall(r"(\w*(?:PASSWORD|AUTH_STRING|TOKEN|CONN_STR)): (.*)", text)
    assert len(secrets) >= 4
    assert [name for name, value in secrets if "${" not in value] == []
    in_addresses = re.findall(r"://\w+:(.*)@", text)
    assert len(in_addresses) == 2
    assert [password for password in in_addresses if not re.fullmatch(r"\$\{[^}]+\}", password)] == []


def test_only_a_loopback_port_is_published() -> None:
    published = [port for service in SERVICES.values() for port in service.get("ports", [])]
    assert len(published) == 1
    assert published[0].startswith("127.0.0.1:")
    assert SERVICES["server"]["environment"]["PREFECT_SERVER_API_AUTH_STRING"].startswith("${PREFECT_AUTH_STRING:?")


def test_server_in_compose_has_the_settings_of_up() -> None:
    variables = SERVICES["server"]["environment"]
    assert {name: variables.get(name) for name in SERVER_SETTINGS} == SERVER_SETTINGS


def test_services_start_in_order_and_restart() -> None:
    for service in SERVICES.values():
        for other, dependency in service.get("depends_on", {}).items():
            if dependency["condition"] == "service_healthy":
                assert "test" in SERVICES[other]["healthcheck"]
            else:
                assert dependency["condition"] == "service_completed_successfully"
                assert SERVICES[other]["restart"].startswith("on-failure")
    assert {name for name, service in SERVICES.items() if service["restart"] == "unless-stopped"} == set(SERVICES) - {
        "set-up"
    }
    assert SERVICES["bot"]["profiles"] == ["telegram"]


def test_databases_are_those_that_the_services_use() -> None:
    created = (ROOT / "deployments" / "compose" / "create_prefect_database.sql").read_text()
    prefect_address = SERVICES["server"]["environment"]["PREFECT_SERVER_DATABASE_CONNECTION_URL"]
    assert f"CREATE DATABASE {prefect_address.rsplit('/', 1)[1]};" in created
    project_database = SERVICES["worker"]["environment"]["NEON_CONN_STR"].rsplit("/", 1)[1]
    assert project_database == SERVICES["database"]["environment"]["POSTGRES_DB"]


def test_volumes_are_writable_folders_of_the_image() -> None:
    folders = re.search(r"install --directory --owner hybrid_ml --group hybrid_ml (.*)", DOCKERFILE.read_text())
    assert folders
    for service in OWN_SERVICES.values():
        for volume in service.get("volumes", []):
            name, _, folder = volume.partition(":")
            assert name in read(COMPOSE)["volumes"]
            assert folder in folders[1].split()


def test_image_has_needed_files_and_no_secret() -> None:
    included = set(re.findall(r"^!(\S+)", (ROOT / ".dockerignore").read_text(), flags=re.MULTILINE))
    assert {
        "flows",
        "hybrid_ml",
        "tasks",
        "deployments",
        "prefect.yaml",
        "pyproject.toml",
        "requirements.lock",
    } <= included
    assert not {name for name in included if name.startswith((".env", ".git", ".data"))}
    lines = DOCKERFILE.read_text().splitlines()
    assert [line for line in lines if line.startswith("USER")] == ["USER 10001:10001"]
    assert "--require-hashes -r requirements.lock" in DOCKERFILE.read_text()


@pytest.mark.parametrize(
    ("url", "text"), [("", "PREFECT_API_URL is not set"), ("http://127.0.0.1:9/api", "not answer")]
)
def test_health_check_fails_without_a_reachable_server(url: str, text: str) -> None:
    done = _health(url)
    assert done.returncode == 1
    assert text in done.stderr


def test_health_check_passes_with_an_online_worker(prefect_api: str) -> None:
    """In a separate work pool, because all tests share the server."""
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
