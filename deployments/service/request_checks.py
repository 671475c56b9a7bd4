"""Checks of every request before Prefect's server gets it: its host, and the origin of its page.

A page of another site can reach a server on this machine through the browser: directly, and by letting its own name
resolve to 127.0.0.1 (DNS rebinding). The Host header shows the second, the Origin header the first (Fetch standard,
section 3.2; RFC 6455, section 10.2 for WebSockets).
"""

import ipaddress
import re
from collections.abc import Collection

from starlette.datastructures import Headers
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Receive, Scope, Send

LOCALHOST = "localhost"
FORBIDDEN, MISDIRECTED = 403, 421
NETLOC = re.compile(r"(?P<name>\[[0-9a-fA-F:.]+\]|[\w.-]+)(:(?P<port>\d{1,5}))?", re.ASCII)
DEFAULT_PORTS = {"http": 80, "https": 443}


class RequestChecks:
    """ASGI middleware for HTTP and WebSocket: refuses requests for other hosts and from pages of other origins.

    `hosts`: names of this server; IP addresses and localhost are always accepted, since no page can make its own
    name one of them. A name that begins with `*.` stands for all its subdomains.
    `origins`: origins of pages, such as `https://ml.example.com`, besides those of the server itself.
    `open_paths`: paths that check the caller themselves and accept every origin.
    """

    def __init__(
        self, app: ASGIApp, hosts: Collection[str], origins: Collection[str] = (), open_paths: Collection[str] = ()
    ) -> None:
        self.app = app
        self.hosts = {host.lower() for host in hosts}
        self.origins = {origin.lower().rstrip("/") for origin in origins}
        self.open_paths = frozenset(open_paths)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on, or answer it with 421 (another host) or 403 (another origin)."""
        if scope["type"] not in ("http", "websocket"):
            await self.app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        host = headers.get("host", "")
        if not self.is_our_host(host):
            await _refuse(MISDIRECTED, "this server does not have that name", scope, receive, send)
        elif scope["path"] not in self.open_paths and not self.is_our_origin(headers.getlist("origin"), host):
            await _refuse(FORBIDDEN, "pages of other origins are refused", scope, receive, send)
        else:
            await self.app(scope, receive, send)

    def is_our_host(self, header: str) -> bool:
        """Whether the Host header names this server."""
        name, _ = _host_and_port(header)
        if not name:
            return False
        if name == LOCALHOST or _is_address(name) or name in self.hosts:
            return True
        return any(host.startswith("*.") and name.endswith(host[1:]) for host in self.hosts)

    def is_our_origin(self, origin_headers: list[str], host_header: str) -> bool:
        """Whether the request came from no page, from one of this server, or from an allowed one.

        Behind a proxy that ends TLS the page's scheme is https and ours is http, so host and port alone are compared.
        """
        if not origin_headers:
            return True
        if len(origin_headers) > 1:
            return False
        origin = origin_headers[0].lower()
        if origin in self.origins:
            return True
        scheme, _, netloc = origin.partition("://")
        if scheme not in DEFAULT_PORTS:
            return False
        name, port = _host_and_port(netloc)
        default_port = DEFAULT_PORTS[scheme]
        host_name, host_port = _host_and_port(host_header)
        return bool(name) and (name, port or default_port) == (host_name, host_port or default_port)


async def _refuse(status: int, reason: str, scope: Scope, receive: Receive, send: Send) -> None:
    await PlainTextResponse(f"{reason}; see HYBRID_ML_ALLOWED_HOSTS\n", status_code=status)(scope, receive, send)


def _host_and_port(netloc: str) -> tuple[str, int | None]:
    """`[::1]:4200` as `("::1", 4200)`; an empty name where it is no host, such as with a user name or a path."""
    match = NETLOC.fullmatch(netloc)
    if not match:
        return "", None
    port = int(match["port"]) if match["port"] else None
    return match["name"].strip("[]").lower().rstrip("."), port


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True
