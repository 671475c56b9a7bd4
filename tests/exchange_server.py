"""A server on loopback that speaks Binance's klines: pages, weights, bans, symbols, and faults that a seed chooses."""

import json
import math
import random
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qsl, urlsplit

MINUTE = 60_000
MOST_ROWS = 1_000
KLINES = ("/api/v3/klines", "/0/public/OHLC")
WEIGHTS = {"/api/v3/klines": 2, "/api/v3/exchangeInfo": 20, "/api/v3/time": 1}
FAULTS = ("too_many", "error_500", "bad_gateway", "garbage", "object", "infinite", "off_grid", "cut", "drop")
"""too_many: 429; bad_gateway: 502 with a page; garbage: 200 and no JSON; object: 200 and no list; infinite, off_grid:
a kline that is none; cut: half of the body; drop: nothing. Others by order only: banned (418), legal (451),
forbidden (403), undated: no Date header."""
RETRY_AFTER_SECONDS = {"too_many": 7, "banned": 120}
Kline = list[Any]


def milliseconds(time: datetime) -> int:
    return round(time.timestamp() * 1_000)


def kline(minute: int, *, traded: bool = True) -> Kline:
    """The bar of a minute (since 1970), the same each time: prices near 100, three decimals."""
    close = 100 + 5 * math.sin(minute / 300) + (minute * 7_919 % 101) / 1_000
    opened = close + ((minute * 104_729 % 21) - 10) / 1_000
    if not traded:
        opened, volume, trades = close, 0.0, 0
    else:
        volume, trades = 1 + minute * 31 % 97 / 10, 1 + minute * 17 % 50
    prices = (opened, max(opened, close) + 0.002 * traded, min(opened, close) - 0.002 * traded, close, volume)
    start = minute * MINUTE
    texts = [f"{value:.8f}" for value in (*prices, volume * close, volume * 0.4, volume * 0.4 * close)]
    return [start, *texts[:5], start + MINUTE - 1, texts[5], trades, texts[6], texts[7], "0"]


@dataclass
class Market:
    """A symbol: listed from `listed` until before `delisted`, with minutes without trades and minutes without rows."""

    listed: datetime
    delisted: datetime | None = None
    no_trades: set[datetime] = field(default_factory=set)
    missing: set[datetime] = field(default_factory=set)
    is_in_exchange_info: bool = True


@dataclass
class Exchange:
    """State and orders. `clock` is the exchange's own; `orders`: faults of the next requests to klines, "" for none.

    `plan` chooses a fault for each other request to klines. `most_rows` is the most that a page has.
    """

    clock: Callable[[], datetime]
    markets: dict[str, Market] = field(default_factory=dict)
    orders: list[str] = field(default_factory=list)
    plan: Callable[[], str] = str
    most_rows: int = MOST_ROWS
    late: dict[datetime, datetime] = field(default_factory=dict)
    """Minutes whose bar does not appear before a time."""
    revisions: dict[datetime, dict[int, str]] = field(default_factory=dict)
    """Minutes whose bar has other values, by position in the kline."""
    url: str = ""
    weight_used: int = 0
    requests: list[tuple[str, dict[str, str]]] = field(default_factory=list)
    faults: list[str] = field(default_factory=list)
    connections: set[socket.socket] = field(default_factory=set)
    lock: threading.RLock = field(default_factory=threading.RLock)

    def bars(self, symbol: str, since: datetime, until: datetime) -> list[Kline]:
        """The final, traded bars that open from `since` until before `until`: what a load must end with."""
        rows = self.klines(symbol, milliseconds(since), milliseconds(until) - 1, 10**9)
        now = milliseconds(self.clock())
        return [row for row in rows if row[8] > 0 and row[0] + MINUTE <= now]

    def klines(self, symbol: str, start: int | None, end: int | None, limit: int) -> list[Kline]:
        """The rows of an answer, the newest with half of its volume while its minute is not over."""
        market, now = self.markets[symbol], milliseconds(self.clock())
        last = min(end if end is not None else now, now)
        if market.delisted:
            last = min(last, milliseconds(market.delisted) - 1)
        first = max(start or 0, milliseconds(market.listed))
        minutes = range(-(-first // MINUTE), last // MINUTE + 1)
        late = {minute for minute, appears in self.late.items() if milliseconds(appears) > now}
        absent = {milliseconds(time) // MINUTE for time in market.missing | late}
        untraded = {milliseconds(time) // MINUTE for time in market.no_trades}
        chosen = [minute for minute in minutes if minute not in absent]
        chosen = chosen[:limit] if start is not None else chosen[-limit:]
        rows = [kline(minute, traded=minute not in untraded) for minute in chosen]
        revised = {milliseconds(time): values for time, values in self.revisions.items()}
        for row in rows:
            for position, value in revised.get(row[0], {}).items():
                row[position] = value
        if rows and rows[-1][0] + MINUTE > now:
            rows[-1][5], rows[-1][8] = f"{float(rows[-1][5]) / 2:.8f}", max(1, rows[-1][8] // 2)
        return rows

    def begin(self, path: str, asked: dict[str, str]) -> str:
        """Count a request; the fault it gets."""
        with self.lock:
            self.requests.append((path, asked))
            self.weight_used += WEIGHTS.get(path, 1)
            fault = (self.orders.pop(0) if self.orders else self.plan()) if path in KLINES else ""
            self.faults.append(fault)
            return fault

    def answer(self, path: str, asked: dict[str, str]) -> tuple[int, Any]:
        """Status and body of a request without a fault."""
        if path == "/api/v3/time":
            return 200, {"serverTime": milliseconds(self.clock())}
        symbol = asked.get("symbol")
        if symbol is not None and not symbol.isalnum():
            return 400, {"code": -1100, "msg": "Illegal characters found in parameter 'symbol'."}
        if path == "/api/v3/klines" and symbol in self.markets:
            start, end = (int(asked[name]) if name in asked else None for name in ("startTime", "endTime"))
            return 200, self.klines(str(symbol), start, end, min(int(asked.get("limit", 500)), self.most_rows))
        if path == "/api/v3/exchangeInfo":
            names = [name for name, market in self.markets.items() if market.is_in_exchange_info]
            if symbol is None or symbol in names:
                return 200, {"symbols": [self._entry(name) for name in names if symbol in (None, name)]}
        return 400, {"code": -1121, "msg": "Invalid symbol."}

    def _entry(self, symbol: str) -> dict[str, str]:
        delisted = self.markets[symbol].delisted
        status = "BREAK" if delisted and delisted <= self.clock() else "TRADING"
        return {"symbol": symbol, "status": status, "baseAsset": symbol[:-4], "quoteAsset": symbol[-4:]}


def seeded_faults(seed: int, share: float) -> Callable[[], str]:
    """A plan that gives about `share` of the requests a fault, each of FAULTS once before any comes again."""
    chooser, coming = random.Random(seed), list[str]()  # noqa: S311  # deterministic on purpose

    def choose() -> str:
        if chooser.random() >= share:
            return ""
        if not coming:
            coming.extend(chooser.sample(FAULTS, len(FAULTS)))
        return coming.pop()

    return choose


class Handler(BaseHTTPRequestHandler):
    """One connection, kept alive."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    exchange: Exchange

    def setup(self) -> None:
        super().setup()
        with self.exchange.lock:
            self.exchange.connections.add(self.connection)

    def do_GET(self) -> None:
        parts = urlsplit(self.path)
        asked = dict(parse_qsl(parts.query))
        fault = self.exchange.begin(parts.path, asked)
        if fault == "drop":
            self._close()
            return
        refused = {"too_many": 429, "banned": 418, "legal": 451, "forbidden": 403, "error_500": 500, "bad_gateway": 502}
        status, body = (refused[fault], {"code": -1003, "msg": fault}) if fault in refused else (0, None)
        if not status:
            status, body = self.exchange.answer(parts.path, asked)
        self._send(status, damaged(body, fault), fault)

    def _send(self, status: int, data: bytes, fault: str) -> None:
        head = [f"HTTP/1.1 {status} -", f"Content-Length: {len(data)}", "Content-Type: application/json"]
        head.append(f"X-MBX-USED-WEIGHT-1M: {self.exchange.weight_used}")
        if fault != "undated":
            head.append(f"Date: {format_datetime(self.exchange.clock().astimezone(UTC), usegmt=True)}")
        if fault in RETRY_AFTER_SECONDS:
            head.append(f"Retry-After: {RETRY_AFTER_SECONDS[fault]}")
        with suppress(OSError):
            self.wfile.write(
                "\r\n".join([*head, "", ""]).encode() + (data[: len(data) // 2] if fault == "cut" else data)
            )
        if fault == "cut":
            self._close()

    def _close(self) -> None:
        self.close_connection = True
        with suppress(OSError):
            self.connection.shutdown(socket.SHUT_RDWR)

    def log_message(self, *_: Any) -> None:
        """No log."""


def damaged(body: Any, fault: str) -> bytes:
    """`body` as JSON, or what a fault makes of it."""
    if fault == "garbage":
        return b"<html><head><title>maintenance</title></head></html>"
    if fault == "bad_gateway":
        return b"<html>502 Bad Gateway</html>"
    if fault == "object":
        return b'{"serverTime": 1499827319559}'
    if fault in ("infinite", "off_grid"):
        row = kline(28_000_000)
        row[0 if fault == "off_grid" else 4] = row[0] + 1 if fault == "off_grid" else "Infinity"
        return json.dumps([row, *body] if isinstance(body, list) else [row]).encode()
    return json.dumps(body).encode()


class Server(ThreadingHTTPServer):
    """Threads end with the process."""

    daemon_threads = True

    def handle_error(self, *_: Any) -> None:
        """No message: tests kill clients on purpose."""


@contextmanager
def exchange_server(exchange: Exchange) -> Iterator[Exchange]:
    """Serve `exchange` until the block ends; its address is in `url`."""
    server = Server(("127.0.0.1", 0), type("BoundHandler", (Handler,), {"exchange": exchange}))
    exchange.url = f"http://127.0.0.1:{server.server_port}"
    threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
    try:
        yield exchange
    finally:
        server.shutdown()
        server.server_close()
        with exchange.lock:
            for connection in exchange.connections:
                with suppress(OSError):
                    connection.shutdown(socket.SHUT_RDWR)


class ManualTime:
    """A clock that only waits move. The exchange's clock is `offset` ahead of it."""

    def __init__(self, now: datetime, offset: timedelta = timedelta(0)) -> None:
        self._now, self._offset, self.waits = now, offset, list[float]()

    def now(self) -> datetime:
        return self._now

    def exchange_now(self) -> datetime:
        return self._now + self._offset

    def wait(self, seconds: float) -> None:
        self.waits.append(seconds)
        self._now += timedelta(seconds=seconds)
