"""A server on loopback that speaks as much of Telegram's Bot API as the alerts need."""

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs

TOKEN = "123456:not-a-real-token"


@dataclass
class BotApi:
    """What was sent, and how to answer next (status, body); without an order it confirms."""

    base_url: str = ""
    messages: list[dict[str, str]] = field(default_factory=list)
    orders: list[tuple[int, dict[str, Any]]] = field(default_factory=list)


@contextmanager
def bot_api() -> Iterator[BotApi]:
    """Serve until the block ends."""
    api = BotApi()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            length = int(self.headers.get("Content-Length", 0))
            sent = {name: values[0] for name, values in parse_qs(self.rfile.read(length).decode()).items()}
            token, method = self.path.removeprefix("/bot").rsplit("/", 1)
            self._answer(*self._reply(token, method, sent))

        def _reply(self, token: str, method: str, sent: dict[str, str]) -> tuple[int, dict[str, Any]]:
            if token != TOKEN:
                return 401, {"ok": False, "error_code": 401, "description": "Unauthorized"}
            if method == "getMe":
                return 200, {
                    "ok": True,
                    "result": {"id": 1, "is_bot": True, "first_name": "Bot", "username": "loopback_bot"},
                }
            if api.orders:
                return api.orders.pop(0)
            api.messages.append(sent)
            chat = {"id": int(sent["chat_id"]), "type": "private"}
            return 200, {"ok": True, "result": {"message_id": len(api.messages), "date": 0, "chat": chat}}

        def _answer(self, status: int, body: dict[str, Any]) -> None:
            data = json.dumps(body).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, *_: Any) -> None:
            """Say nothing: a request line holds the token."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    api.base_url = f"http://127.0.0.1:{server.server_port}/bot"
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield api
    finally:
        server.shutdown()
        server.server_close()
