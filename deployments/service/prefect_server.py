"""The Prefect server process: `python -m deployments.service.prefect_server --host ADDRESS --port PORT`.

`--descriptor NUMBER`, instead of these, names an inherited listening socket. It is what `prefect server start` runs
in the foreground, behind the checks of request_checks.py; everything else is in Prefect's own settings.
"""

import argparse
import socket

import uvicorn
from prefect.server.api.server import create_app
from prefect.settings import get_current_settings
from starlette.types import ASGIApp

from deployments.service.request_checks import RequestChecks
from deployments.service.sign_in import PATH, SignIn

ANY_ORIGIN = "*"


def guarded(app: ASGIApp, allowed_hosts: list[str], allowed_origins: list[str], authentication: str) -> ASGIApp:
    """`app` for requests that name this server, from its own pages or those of `allowed_origins`."""
    inner = SignIn(app, authentication) if authentication else app
    return RequestChecks(inner, allowed_hosts, allowed_origins, open_paths=[PATH])


def main() -> None:
    """Serve until SIGTERM or Ctrl-C."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", default=4200, type=int)
    parser.add_argument("--descriptor", type=int, help="a listening socket to use instead")
    parser.add_argument("--allowed_host", action="append", default=[], help="a host name that requests may contain")
    arguments = parser.parse_args()
    server = get_current_settings().server
    authentication = server.api.auth_string.get_secret_value() if server.api.auth_string else ""
    origins = [origin.strip() for origin in server.api.cors_allowed_origins.split(",") if origin.strip() != ANY_ORIGIN]
    inherited = [socket.socket(fileno=arguments.descriptor)] if arguments.descriptor is not None else None
    config = uvicorn.Config(
        guarded(create_app(final=True), arguments.allowed_host, origins, authentication),
        host=arguments.host,
        port=arguments.port,
        timeout_keep_alive=server.api.keepalive_timeout,
        ws_ping_interval=server.api.websocket_ping_interval,
        ws_ping_timeout=server.api.websocket_ping_timeout,
        log_level=server.logging_level.lower(),
    )
    uvicorn.Server(config).run(sockets=inherited)


if __name__ == "__main__":
    main()
