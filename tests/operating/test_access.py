"""Access control of `hybrid-ml up`: pages of other sites and other accounts of the machine are refused."""

import asyncio
import json
import os
import re
import socket
import stat
import subprocess
import sys
from pathlib import Path

import httpx
import psutil
import pytest
import websockets

from deployments.service.authentication import export_line
from hybrid_ml.cli.service_commands import ui
from hybrid_ml.errors import BadInput
from tests.up import SERVER, Up

EVIL = "evil.example"
NOBODY = 65_534
BLOCKS = {"include_secrets": True, "block_documents": {"name": {"any_": ["telegram-bot-token"]}}}


def headers_of_other_sites(up: Up) -> dict[str, dict[str, str]]:
    """Headers that a browser sends for a page of another site: DNS rebinding, other origins, a file."""
    port = httpx.URL(up.api_url).port
    return {
        "rebinding": {"Host": f"{EVIL}:{port}", "Origin": f"http://{EVIL}:{port}"},
        "rebinding without origin": {"Host": f"{EVIL}:{port}"},
        "another origin": {"Origin": f"http://{EVIL}"},
        "another port of this machine": {"Origin": "http://127.0.0.1:3000"},
        "a file": {"Origin": "null"},
        "a user's name for a host": {"Host": f"127.0.0.1@{EVIL}"},
        "an address with a name behind it": {"Host": f"[::1]{EVIL}"},
        "an origin that is no address": {"Origin": "http://["},
    }


@pytest.mark.parametrize("authenticated", [False, True])
def test_page_of_another_site_is_refused_over_http(up: Up, authenticated: bool) -> None:
    """Also with the correct authentication string, which such a page does not have."""
    headers = {"Authorization": httpx.BasicAuth(*up.authentication.split(":", 1))._auth_header} if authenticated else {}
    requests = [
        ("GET", "/csrf-token?client=x", None),
        ("POST", "/block_documents/filter", BLOCKS),
        ("POST", "/deployments/", {"name": "x", "flow_id": "00000000-0000-0000-0000-000000000000"}),
        ("GET", "/health", None),
    ]
    with httpx.Client(base_url=up.api_url) as client:
        for name, foreign_headers in headers_of_other_sites(up).items():
            statuses = {
                client.request(method, up.api_url + path, json=body, headers=headers | foreign_headers).status_code
                for method, path, body in requests
            }
            assert statuses <= {403, 421}, name


def test_port_stays_bound_while_the_server_is_suspended(up: Up) -> None:
    """Otherwise another process could take the port and receive the authentication string from clients."""
    server, port = up.child(SERVER), httpx.URL(up.api_url).port
    server.suspend()
    try:
        with socket.socket() as other:
            other.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            with pytest.raises(OSError, match="in use"):
                other.bind(("127.0.0.1", port))
        [listening] = [
            connection
            for connection in psutil.Process(up.process.pid).net_connections("tcp")
            if connection.status == psutil.CONN_LISTEN and connection.laddr.port == port
        ]
    finally:
        server.resume()
    assert listening.fd >= 0, "`up` itself listens, so the port is held when the server has died, too"


def test_sign_in_refuses_wrong_and_invalid_forms_without_server_error(up: Up) -> None:
    url, right = up.api_url.removesuffix("/api") + "/hybrid-ml/sign-in", up.authentication
    with httpx.Client() as client:
        for form in ("authentication=ü", "authentication=%ff", "authentication", ""):
            assert client.post(url, content=form.encode()).status_code == 403, form
        assert client.get(url).status_code == 405
        assert client.post(url, data={"authentication": "hybrid-ml:guessed"}).status_code == 403
        assert client.post(url, data={"authentication": "x" * 10_000}).status_code == 413
        answer = client.post(url, data={"authentication": right})
    assert answer.status_code == 200
    assert answer.headers["cache-control"] == "no-store"
    server_lines = [line for line in up.log.read_text().splitlines() if re.match(r" *server +\|", line)]
    assert not [line for line in server_lines if "Traceback" in line]


def test_requests_without_authentication_are_refused(up: Up) -> None:
    with httpx.Client() as client:
        assert client.get(f"{up.api_url}/health").status_code == 200, "probes of a container send no string"
        assert client.get(f"{up.api_url}/csrf-token?client=x").status_code == 401
        assert client.get(f"{up.api_url}/admin/version").status_code == 401
        assert client.get(f"{up.api_url}/admin/version", auth=("hybrid-ml", "guessed")).status_code == 401
        # the server checks the CSRF token first, and gives that token only to an authenticated client
        assert client.post(f"{up.api_url}/block_documents/filter", json=BLOCKS).status_code in (401, 403)
        assert client.get(f"{up.api_url}/admin/version", auth=tuple(up.authentication.split(":", 1))).is_success


@pytest.mark.parametrize("path", ["events/in", "events/out", "logs/out"])
def test_websockets_require_authentication_and_own_origin(up: Up, path: str) -> None:
    url = up.api_url.replace("http://", "ws://") + f"/{path}"
    for name, headers in headers_of_other_sites(up).items():
        assert _connects(url, headers, up.authentication) == "refused", name
    assert _connects(url, {}, None) == "refused", "without Prefect's handshake"
    assert _connects(url, {}, "hybrid-ml:guessed") == "closed"
    assert _connects(url, {}, up.authentication) == "open"


def _connects(url: str, headers: dict[str, str], authentication: str | None) -> str:
    """The result of a WebSocket connection: refused at the handshake, closed after authentication, or open."""
    port = httpx.URL(url).port

    async def connect() -> str:
        protocols = ["prefect"] if authentication else None
        host = EVIL if "Host" in headers else "127.0.0.1"
        other_headers = {name: value for name, value in headers.items() if name != "Host"}
        try:
            async with websockets.connect(
                f"ws://{host}:{port}{httpx.URL(url).path}",
                subprotocols=protocols,
                additional_headers=other_headers,
                host="127.0.0.1",
                port=port,
                proxy=None,
            ) as export:
                if authentication:
                    await export.send(json.dumps({"type": "auth", "token": authentication}))
                answer = json.loads(await asyncio.wait_for(export.recv(), 30))
                return "open" if answer == {"type": "auth_success"} else f"answers {answer}"
        except websockets.InvalidStatus as refusal:
            assert refusal.response.status_code in (403, 421)
            return "refused"
        except websockets.ConnectionClosed:
            return "closed"

    return asyncio.run(connect())


def test_other_account_reads_no_secret_and_gets_401(up: Up) -> None:
    """It can read neither the authentication string nor the sign-in page, and gets no answer."""
    auth_file = up.data_dir / "prefect-auth"
    assert stat.S_IMODE(auth_file.stat().st_mode) == 0o600
    program = f"""
import encodings.idna, os, pathlib, urllib.error, urllib.request
if os.geteuid() == 0:
    os.setgroups([]), os.setgid({NOBODY}), os.setuid({NOBODY})
    for name in ("prefect-auth", "sign-in.html"):
        try:
            print(pathlib.Path({str(up.data_dir)!r}, name).read_text())
        except (PermissionError, FileNotFoundError) as error:
            print("no file:", type(error).__name__)
try:
    print(urllib.request.urlopen({up.api_url!r} + "/csrf-token?client=x").read())
except urllib.error.HTTPError as error:
    print("answer", error.code)
"""
    done = subprocess.run([sys.executable, "-S", "-c", program], capture_output=True, text=True, check=False)
    assert done.stdout.splitlines()[-1] == "answer 401", done.stdout + done.stderr
    assert up.authentication not in done.stdout
    assert done.stdout.count("no file:") == (2 if os.geteuid() == 0 else 0)


def test_each_process_has_only_the_secrets_it_needs(up: Up) -> None:
    server, worker = (_environment(up.child(words)) for words in (SERVER, "hybrid_ml.cli worker"))
    assert not [name for name in server if name.startswith(("TELEGRAM_", "HYBRID_ML_", "NEON_"))]
    assert server["PREFECT_SERVER_API_AUTH_STRING"] == up.authentication
    assert "HYBRID_ML_DATA_DIR" in worker
    assert worker["PREFECT_API_AUTH_STRING"] == up.authentication
    assert not [name for name in worker if name.endswith(("DATABASE_CONNECTION_URL", "SERVER_API_AUTH_STRING"))]
    for process in [psutil.Process(up.process.pid), *psutil.Process(up.process.pid).children(recursive=True)]:
        assert up.authentication not in " ".join(process.cmdline())


def _environment(process: psutil.Process) -> dict[str, str]:
    return process.environ()


def test_prefect_commands_find_the_authentication_string(up: Up) -> None:
    log = up.log.read_text()
    export = export_line(up.api_url, up.data_dir / "prefect-auth")
    assert export in log
    assert up.authentication not in log
    shell = f"{export} && exec {sys.executable} -m prefect work-pool ls"
    environment = {name: value for name, value in up.environment.items() if not name.startswith("PREFECT_API")}
    done = subprocess.run(["sh", "-c", shell], env=environment, capture_output=True, text=True, check=False)
    assert "hybrid-ml" in done.stdout, done.stdout + done.stderr


def test_authentication_string_is_not_sent_to_another_server(up: Up) -> None:
    """PREFECT_API_URL names a server of another user on another port."""
    import threading
    from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

    received: list[str] = []

    class Listener(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            received.append(str(self.headers))
            self.send_error(404)

        def do_POST(self) -> None:
            self.do_GET()

        def log_message(self, *_: object) -> None:
            """No log."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Listener) as other:
        threading.Thread(target=other.serve_forever, daemon=True).start()
        up.command("check", PREFECT_API_URL=f"http://127.0.0.1:{other.server_port}/api")
        other.shutdown()
    assert received
    assert not [headers for headers in received if "authorization" in headers.lower()]


def test_ui_command_without_browser_prints_address_and_file_of_the_string(up: Up) -> None:
    done = up.command("ui", PATH=str(Path(sys.executable).parent), DISPLAY="", WAYLAND_DISPLAY="")
    assert done.returncode == 0, done.stderr
    assert up.api_url.removesuffix("/api") in done.stdout
    assert str(up.data_dir / "prefect-auth") in done.stdout
    assert up.authentication not in done.stdout


def test_ui_command_without_up_says_to_start_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HYBRID_ML_DATA_DIR", os.devnull + "/none")
    with pytest.raises(BadInput, match="start it first"):
        ui()
