"""A page of an exchange: what we add to the bare request.

Both sides ask a server on loopback, in a process of its own, for the same page of klines. Bare: the request, and its
body read. Ours: the same through `BinanceFeed`, with budget, checks and parsing, and the page stored in PostgreSQL with
its coverage in one transaction, for minutes that are not stored yet and once more for the same minutes. How to read
it: what we add is ours minus the bare request; ratio 3 means that a page takes three times as long as its request.
A request over the internet takes longer than one on loopback, so there the ratio is smaller.

Then several symbols side by side, as a backfill loads them, in pages a second beside what Binance allows an address.

Then the refresh stage of a slot: the ten new bars of many symbols, several side by side, beside the bare requests sent
by as many threads.
"""

import json
import multiprocessing
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import httpx
import pandas as pd
from common import Report, TemporaryStore, cross_check, interleaved, options, show_progress, some_bars
from sqlalchemy import Engine, text

from hybrid_ml.config.settings import load_settings
from hybrid_ml.feeds.binance import EXCHANGES, KLINES_WEIGHT
from hybrid_ml.feeds.history import Loaded, recheck_time, store_answer
from hybrid_ml.feeds.opening import open_feed
from hybrid_ml.feeds.refresh import MOST_THREADS, refresh_all, refresh_bars
from hybrid_ml.market.coverage import Span
from hybrid_ml.store.coverage import Instrument, record_coverage, save_instrument

SYMBOL = "BENCH"
MOST_ADDED_MS, MOST_REFRESH_SECONDS = 15.0, 5.0
MOST_OF_BUDGET = 1 / 0.9
"""A backfill uses nine tenths of what the exchange allows, or more."""
SIDE_BY_SIDE = 4
SLOT_MINUTES = 10
MINUTE = timedelta(minutes=1)
INSTRUMENT = Instrument(SYMBOL, "binance", SYMBOL)


def klines(bars: pd.DataFrame) -> bytes:
    """The bars as an answer of Binance, without its brackets."""
    rows = []
    for bar in bars.itertuples(index=False):
        opened = int(bar.time.timestamp() * 1_000)
        texts = [f"{value:.8f}" for value in (bar.open, bar.high, bar.low, bar.close, bar.volume)]
        quote = [f"{bar.volume * bar.close * share:.8f}" for share in (1.0, 0.4)]
        taker = f"{bar.volume * 0.4:.8f}"
        rows.append(json.dumps([opened, *texts, opened + 59_999, quote[0], 100, taker, quote[1], "0"]))
    return "\n".join(rows).encode()


def serve(answers: bytes, first_milliseconds: int, send_port: Any) -> None:
    """In a process: answer each request for klines with prepared rows."""
    rows = answers.split(b"\n")

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        wbufsize = -1  # head and body in one packet
        disable_nagle_algorithm = True

        def do_GET(self) -> None:
            asked = dict(parse_qsl(urlsplit(self.path).query))
            begin = (int(asked["startTime"]) - first_milliseconds) // 60_000
            end = (int(asked["endTime"]) - first_milliseconds) // 60_000 + 1
            body = b"[" + b",".join(rows[begin:end]) + b"]"
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.send_header("X-MBX-USED-WEIGHT-1M", "2")
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: Any) -> None:
            """No log."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    send_port.send(server.server_port)
    server.serve_forever()


def run(engine: Engine, statement: str) -> Any:
    with engine.begin() as connection:
        return connection.execute(text(statement))


def seconds_side_by_side(loads: list[Callable[[int], None]], pages: int) -> float:
    """Wall time of `pages` pages of each load, every load in a thread of its own."""

    def run_one(load: Callable[[int], None]) -> None:
        for number in range(pages):
            load(number)

    started = time.perf_counter()
    with ThreadPoolExecutor(len(loads)) as pool:
        list(pool.map(run_one, loads))
    return time.perf_counter() - started


class Slots:
    """The refresh stage of slot after slot, and its requests alone."""

    def __init__(self, engine: Engine, feed: Any, bare: httpx.Client, first: datetime, count: int) -> None:
        self.engine, self.feed, self.bare, self.until = engine, feed, bare, first
        self.instruments = [Instrument(f"S{number}", "binance", f"S{number}") for number in range(count)]
        self.slots = 0

    def refresh(self) -> None:
        self.until += SLOT_MINUTES * MINUTE
        self.slots += 1
        results = refresh_all(self.feed, self.instruments, self.until, self._one)
        problems = [result.problem for result in results if result.problem]
        cross_check(not problems, f"every symbol has its newest bar: {problems[:1]}")

    def _one(self, instrument: Instrument) -> Loaded:
        with self.engine.begin() as connection:
            if self.slots == 1:
                save_instrument(connection, instrument)
                span = Span(self.until - (SLOT_MINUTES + 1) * MINUTE, self.until - SLOT_MINUTES * MINUTE, "have")
                record_coverage(connection, instrument.symbol, [span])
        return refresh_bars(self.engine, self.feed, instrument, self.until, no_wait)

    def requests(self) -> None:
        asked = {"interval": "1m", "limit": SLOT_MINUTES, "endTime": int(self.until.timestamp() * 1_000) - 1}
        asked["startTime"] = asked["endTime"] + 1 - SLOT_MINUTES * 60_000
        with ThreadPoolExecutor(MOST_THREADS) as pool:
            list(
                pool.map(
                    lambda one: self.bare.get("/api/v3/klines", params=asked | {"symbol": one.symbol}), self.instruments
                )
            )


def loader(
    engine: Engine, feed: Any, instrument: Instrument, first: datetime, page: int, loaded: Loaded
) -> Callable[[int], None]:
    """A function that loads page number n of `instrument`, which it records."""
    with engine.begin() as connection:
        save_instrument(connection, instrument)

    def load(number: int) -> None:
        begin = first + number * page * MINUTE
        answer = feed.fetch(instrument, begin, begin + page * MINUTE)
        end = begin + page * MINUTE
        store_answer(engine, instrument, begin, end, answer, loaded, recheck_time(answer.final_through))

    return load


def bars_stored(engine: Engine, of: str) -> int:
    """The number of stored bars of symbols that begin with `of`."""
    with engine.connect() as connection:
        counted = connection.execute(text("SELECT count(*) FROM bars WHERE starts_with(symbol, :of)"), {"of": of})
        return int(counted.scalar_one())


def measure_pages(report: Report, engine: Engine, feed: Any, bare: httpx.Client, first: datetime, chosen: Any) -> None:
    """One page after the other, beside its bare request."""
    show_progress(f"loading {chosen.repetitions} pages of {chosen.page:,} bars")
    start, numbers = int(first.timestamp() * 1_000), iter(range(chosen.repetitions))
    asked = {"symbol": SYMBOL, "interval": "1m", "limit": chosen.page}
    asked |= {"startTime": start, "endTime": start + chosen.page * 60_000 - 1}
    load = loader(engine, feed, INSTRUMENT, first, chosen.page, Loaded())
    taken = interleaved(
        {
            "bare": lambda: bare.get("/api/v3/klines", params=asked).content,
            "new": lambda: load(next(numbers)),
            "again": lambda: load(0),
        },
        chosen.repetitions,
    )
    cross_check(bars_stored(engine, SYMBOL) == chosen.page * chosen.repetitions, "every bar of every page is stored")
    report.add("bare request", taken["bare"] * 1_000, "ms")
    report.add("page requested and stored", taken["new"] * 1_000, "ms")
    report.add("what we add to a page", (taken["new"] - taken["bare"]) * 1_000, "ms", MOST_ADDED_MS)
    report.add("ratio", taken["new"] / taken["bare"], "x")
    report.add("the same page once more", taken["again"] * 1_000, "ms")


def measure_side_by_side(report: Report, engine: Engine, feed: Any, first: datetime, chosen: Any) -> None:
    """Several symbols at once, beside what the exchange allows."""
    show_progress(f"loading {SIDE_BY_SIDE} symbols side by side")
    instruments = [Instrument(f"T{number}", "binance", f"T{number}") for number in range(SIDE_BY_SIDE)]
    loads = [loader(engine, feed, instrument, first, chosen.page, Loaded()) for instrument in instruments]
    took = seconds_side_by_side(loads, chosen.repetitions)
    pages_a_second = SIDE_BY_SIDE * chosen.repetitions / took
    cross_check(bars_stored(engine, "T") == SIDE_BY_SIDE * chosen.repetitions * chosen.page, "every bar is stored")
    allowed = EXCHANGES["binance"].weight_per_minute / KLINES_WEIGHT / 60
    report.add(f"{SIDE_BY_SIDE} symbols side by side", pages_a_second, "pages/s")
    report.add("what Binance allows an address, against it", allowed / pages_a_second, "x", MOST_OF_BUDGET)


def measure_slots(report: Report, engine: Engine, feed: Any, bare: httpx.Client, first: datetime, chosen: Any) -> None:
    """The refresh stage, slot after slot."""
    show_progress(f"refreshing {chosen.symbols} symbols, {chosen.slots} slots")
    slots = Slots(engine, feed, bare, first + MINUTE, chosen.symbols)
    slots.refresh()  # the first one also records the instruments
    whole = interleaved({"bare": slots.requests, "ours": slots.refresh}, chosen.slots)
    expected, stored = chosen.symbols * (chosen.slots + 1) * SLOT_MINUTES, bars_stored(engine, "S")
    cross_check(stored == expected, f"{expected:,} bars of the slots are stored, not {stored:,}")
    report.add(f"bare requests for {chosen.symbols} symbols", whole["bare"], "s")
    report.add(f"refresh of {chosen.symbols} symbols", whole["ours"], "s")
    report.add("what we add to a refresh", whole["ours"] - whole["bare"], "s", MOST_REFRESH_SECONDS)


def main() -> None:
    parser = options(__doc__, smallest={"page": 100, "repetitions": 2, "symbols": 5, "slots": 2})
    parser.add_argument("--page", type=int, default=1_000, help="bars of a page, 1,000 at most")
    parser.add_argument("--repetitions", type=int, default=30)
    parser.add_argument("--symbols", type=int, default=200, help="symbols of the refresh stage")
    parser.add_argument("--slots", type=int, default=5, help="slots of the refresh stage")
    chosen = parser.parse_args()
    engine = TemporaryStore.make().use()
    bars = some_bars(2 * chosen.page * (chosen.repetitions + 1), chosen.csv_path)
    first = bars["time"].iloc[0].to_pydatetime()
    minutes = pd.DataFrame({"time": pd.date_range(first, periods=len(bars), freq="min")})
    bars = bars.assign(time=minutes["time"])  # sessions closed up: every page is full
    receive_port, send_port = multiprocessing.Pipe()
    arguments = (klines(bars), int(first.timestamp() * 1_000), send_port)
    server = multiprocessing.get_context("fork").Process(target=serve, args=arguments, daemon=True)
    server.start()
    url = f"http://127.0.0.1:{receive_port.recv()}"
    settings = load_settings().model_copy(update={"hybrid_ml_binance_url": url})
    report = Report(f"feeds: pages of {chosen.page:,} bars, median of {chosen.repetitions}")
    with (
        httpx.Client(base_url=url) as bare,
        open_feed("binance", settings, engine, lambda: datetime.now(UTC), no_wait) as feed,
    ):
        measure_pages(report, engine, feed, bare, first, chosen)
        measure_side_by_side(report, engine, feed, first, chosen)
        measure_slots(report, engine, feed, bare, first, chosen)
    report.show(as_json=chosen.json)


def no_wait(seconds: float) -> None:
    raise SystemExit(f"cross-check failed: a request was to wait {seconds:.0f} s")


if __name__ == "__main__":
    main()
