"""A server on loopback that takes what a webhook and a dead-man's switch are sent."""

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


@dataclass
class Hooks:
    """What came: JSON bodies of POSTs, and paths of GETs, in order. `status`: what is answered."""

    url: str = ""
    bodies: list[dict[str, Any]] = field(default_factory=list)
    paths: list[str] = field(default_factory=list)
    status: int = 200


@contextmanager
def hooks() -> Iterator[Hooks]:
    """Serve until the block ends."""
    came = Hooks()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            if not body:  # its sender was killed
                return
            if came.status == 200:
                came.bodies.append(json.loads(body))
            self._answer()

        def do_GET(self) -> None:
            came.paths.append(self.path)
            self._answer()

        def _answer(self) -> None:
            self.send_response(came.status)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            """It says nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    came.url = f"http://127.0.0.1:{server.server_port}"
    threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
    try:
        yield came
    finally:
        server.shutdown()
        server.server_close()
