"""What `hybrid-ml up` refuses before anything starts, and commands without a server."""

import os
import signal
import socket
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import pytest
import yaml

from deployments.provision.deploy import stated_deployments
from deployments.provision.server_api import server_problem
from deployments.service.authentication import keep_authentication
from deployments.service.server import check_browsers
from deployments.service.supervisor import Supervisor
from deployments.service.up import INTERRUPT_SECONDS, Stop, start_server, tell
from hybrid_ml.config.settings import load_settings
from hybrid_ml.errors import BadInput
from tests.ports import free_port
from tests.up import ROOT, Up, environment_of, make_accessible


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


def refused(tmp_path: Path, *arguments: str, **variables: str) -> str:
    """The message of a `hybrid-ml up` that does not start."""
    (tmp_path / "home").mkdir(exist_ok=True)
    not_running = Up(None, environment_of(make_accessible(tmp_path), **variables), tmp_path / "log", "")
    done = not_running.command("up", *arguments)
    assert done.returncode in (1, 2), done.stdout + done.stderr
    assert "Traceback" not in done.stderr
    return done.stderr


def test_incomplete_authentication_string_is_refused_before_anything_starts(tmp_path: Path) -> None:
    refusal = refused(tmp_path, PREFECT_SERVER_API_AUTH_STRING="no-colon")
    assert "PREFECT_SERVER_API_AUTH_STRING is not USER:PASSWORD" in refusal
    assert not (tmp_path / "data" / "postgres").exists()
    for string in (":", "user:"):
        with pytest.raises(BadInput, match="PREFECT_SERVER_API_AUTH_STRING is not USER:PASSWORD"):
            keep_authentication(tmp_path, string)


def start_here(host: str, port: int) -> None:
    """What `hybrid-ml up` does where it starts a server of its own: up to its refusal, in this process."""
    start_server(Supervisor(tell), load_settings(), (host, port), "user:password")


def test_wildcard_host_requires_an_address_for_browsers(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(BadInput, match="PREFECT_UI_API_URL=http://ADDRESS:4200/api"):
        start_here("::", 4200)
    monkeypatch.setenv("PREFECT_SERVER_UI_API_URL", "http://192.0.2.1:4200/api")
    check_browsers("::", 4200)


def test_invalid_connection_string_is_refused_before_anything_starts(tmp_path: Path) -> None:
    text = refused(tmp_path, NEON_CONN_STR="nonsense")
    assert "NEON_CONN_STR is not a connection string" in text
    assert "server" not in text
    assert not (tmp_path / "data" / "postgres").exists()


def test_port_in_use_is_refused_with_remedy() -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        with pytest.raises(BadInput, match=f"cannot listen on 127.0.0.1:{port} .*choose another with --port"):
            start_here("127.0.0.1", port)


def test_configured_server_that_does_not_answer_is_named(home: Path, tmp_path: Path) -> None:
    """With a database of the test, so that no other one is started first."""
    address = f"http://127.0.0.1:{free_port()}/api"
    assert address in refused(tmp_path, PREFECT_API_URL=address, NEON_CONN_STR=os.environ["NEON_CONN_STR"])


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


def test_status_without_server_names_next_commands(tmp_path: Path) -> None:
    (tmp_path / "home").mkdir()
    done = Up(None, environment_of(make_accessible(tmp_path)), tmp_path / "log", "").command("status")
    assert done.returncode == 1
    assert "hybrid-ml up" in done.stdout
    assert "hybrid-ml backfill" in done.stdout


def test_deployments_have_the_version_of_the_project() -> None:
    deployments = yaml.safe_load((ROOT / "prefect.yaml").read_text())["deployments"]
    project = (ROOT / "pyproject.toml").read_text()
    assert all(f'version = "{item["version"]}"' in project for item in deployments)
    assert all("hybrid-ml" in item["tags"] and item["description"] for item in deployments)
