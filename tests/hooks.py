"""A server on loopback that receives requests for the webhook and the heartbeat URL."""

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


@dataclass
class Hooks:
    """Received requests: JSON bodies of POSTs and paths of GETs, in order. `status`: HTTP status of every answer."""

    url: str = ""
    bodies: list[dict[str, Any]] = field(default_factory=list)
    paths: list[str] = field(default_factory=list)
    status: int = 200


@contextmanager
def hooks() -> Iterator[Hooks]:
    """Serve until the block ends."""
    received = Hooks()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            if not body:  # its sender was killed
                return
            if received.status == 200:
                received.bodies.append(json.loads(body))
            self._answer()

        def do_GET(self) -> None:
            received.paths.append(self.path)
            self._answer()

        def _answer(self) -> None:
            self.send_response(received.status)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            """No log."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    received.url = f"http://127.0.0.1:{server.server_port}"
    threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
    try:
        yield received
    finally:
        server.shutdown()
        server.server_close()
