"""A server on loopback with the part of Telegram's Bot API that this service needs, and with its faults.

`python -m tests.telegram_server --port 8081 --log requests.jsonl` runs it alone; `bot_api()` runs it in a test.
"""

import argparse
import json
import select
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from email.parser import BytesParser
from email.policy import HTTP
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

from tests.telegram_api import CUT_SHORT, LATE, LOST, TOKEN, BotApi, FaultPlan, Form, Row
from tests.telegram_rules import Limits

__all__ = ["TOKEN", "BotApi", "bot_api"]

SLOW_SECONDS = 0.2
GARBAGE = b'{"ok": true, "result": {"message_id'
PROXY_PAGE = b"<html><head><title>502 Bad Gateway</title></head><body>nginx</body></html>"


class Handler(BaseHTTPRequestHandler):
    """One connection, kept alive; every request is one row of the log."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    api: BotApi

    def setup(self) -> None:
        super().setup()
        with self.api.lock:
            self.api.connections.add(self.connection)

    def finish(self) -> None:
        with self.api.lock:
            self.api.connections.discard(self.connection)
        with suppress(OSError):
            super().finish()

    def do_POST(self) -> None:
        at = time.time()
        form = read_form(self.headers.get("Content-Type", ""), self.rfile.read(int(self.headers["Content-Length"])))
        token, _, method = self.path.removeprefix("/bot").rpartition("/")
        row = self.api.begin(at, token, method, form)
        if row.fault in LOST:
            self._send_no_answer(row)
            return
        if row.fault == "bad_gateway":
            self._answer(row, 502, PROXY_PAGE, "text/html")
            return
        status, body = self.api.reply(token, method, form, row, self._client_has_left)
        if row.fault in CUT_SHORT:
            self._send_no_answer(row)
            return
        if row.fault == "slow":
            time.sleep(SLOW_SECONDS)
        data = GARBAGE if row.fault == "garbage" else json.dumps(body).encode()
        self._answer(row, status, data, "application/json")

    do_GET = do_POST  # noqa: N815  # the name http.server looks for

    def _answer(self, row: Row, status: int, data: bytes, content_type: str) -> None:
        head = f"HTTP/1.1 {status} -\r\nContent-Type: {content_type}\r\nContent-Length: {len(data)}\r\n\r\n".encode()
        is_cut = row.fault == "drop_half_way"
        answer = (head + data)[: len(head) + len(data) // 2] if is_cut else head + data
        row.answered_with = "half" if is_cut else status
        row.acknowledged = status == 200 and row.fault not in LATE
        self.api.keep(row)  # before the answer is sent, so that a client with an answer finds its row
        try:
            self.wfile.write(answer)  # in one packet, head and body
        except OSError:
            row.answered_with, row.acknowledged = "nothing", False
            self.api.keep(row)
        if is_cut or row.answered_with == "nothing":
            self._close_connection()

    def _send_no_answer(self, row: Row) -> None:
        row.answered_with = "nothing"
        self.api.keep(row)
        if row.fault.startswith("hang"):
            end = time.monotonic() + self.api.hang_seconds
            while time.monotonic() < end and not self.api.stopping.is_set() and not self._client_has_left(0.05):
                pass
        self._close_connection()

    def _client_has_left(self, wait_seconds: float) -> bool:
        """Whether the client has closed the connection within `wait_seconds`."""
        try:
            readable, _, _ = select.select([self.connection], [], [], wait_seconds)
            return bool(readable) and not self.connection.recv(1, socket.MSG_PEEK)
        except OSError:
            return True

    def _close_connection(self) -> None:
        self.close_connection = True
        with suppress(OSError):
            self.connection.shutdown(socket.SHUT_RDWR)

    def log_message(self, *_: Any) -> None:
        """No log: a request line contains the token."""


def read_form(content_type: str, body: bytes) -> Form:
    """The fields of a request and its picture, as PTB sends them: form-urlencoded, or multipart with a file."""
    if not content_type.startswith("multipart/form-data"):
        return Form({name: values[0] for name, values in parse_qs(body.decode(), keep_blank_values=True).items()})
    head = f"Content-Type: {content_type}\r\n\r\n".encode()
    fields, picture = {}, b""
    for part in BytesParser(policy=HTTP).parsebytes(head + body).iter_parts():
        name, content = str(part.get_param("name", header="content-disposition")), part.get_payload(decode=True)
        if part.get_filename():
            picture = bytes(content)
        else:
            fields[name] = bytes(content).decode()
    return Form(fields, picture)


class Server(ThreadingHTTPServer):
    """Threads end with the process; the queue allows many connections at once."""

    daemon_threads = True
    request_queue_size = 256

    def handle_error(self, *_: Any) -> None:
        """No message: tests kill clients on purpose."""


def serve(api: BotApi, port: int = 0) -> Server:
    """A server that answers for `api` on loopback, its address set, not yet running."""
    server = Server(("127.0.0.1", port), type("BoundHandler", (Handler,), {"api": api}))
    api.base_url = f"http://127.0.0.1:{server.server_port}/bot"
    return server


@contextmanager
def bot_api(
    log: Path | None = None, plan: FaultPlan | None = None, limits: Limits | None = None, port: int = 0
) -> Iterator[BotApi]:
    """Serve until the block ends; open connections are then closed, as by a restart of Telegram."""
    api = BotApi(log=log, plan=plan, limits=limits)
    server = serve(api, port)
    threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
    try:
        yield api
    finally:
        api.stopping.set()
        server.shutdown()
        server.server_close()
        with api.lock:
            for connection in api.connections:
                with suppress(OSError):
                    connection.shutdown(socket.SHUT_RDWR)


def main() -> None:
    """Run alone until Ctrl-C."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--log", type=Path, help="JSONL file, one line a request, appended as they are answered")
    parser.add_argument("--seed", type=int, default=0, help="seed of the faults")
    parser.add_argument("--faults", default="", help="shares of requests, such as too_many=0.1,drop_after=0.05")
    parser.add_argument("--limits", action="store_true", help="answer 429 beyond Telegram's limits")
    options = parser.parse_args()
    shares = {name: float(share) for name, share in (part.split("=") for part in options.faults.split(",") if part)}
    api = BotApi(log=options.log, plan=FaultPlan(options.seed, shares), limits=Limits() if options.limits else None)
    server = serve(api, options.port)
    print(f"TELEGRAM_BASE_URL={api.base_url} TELEGRAM_BOT_TOKEN={TOKEN}", flush=True)  # noqa: T201
    with suppress(KeyboardInterrupt):
        server.serve_forever()


if __name__ == "__main__":
    main()
