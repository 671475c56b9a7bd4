"""Feeds of ccxt's exchanges, from servers on loopback into a real PostgreSQL: ccxt's binance, and Kraken."""

import json
import re
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from importlib import metadata
from pathlib import Path
from typing import Any

import httpx
import pytest
from packaging.requirements import Requirement
from sqlalchemy import Engine

from hybrid_ml.config.settings import load_settings
from hybrid_ml.errors import BadInput, ExchangeRefused, ExchangeUnavailable
from hybrid_ml.feeds.ccxt_exchange import BRIEF_PAUSE_SECONDS, REMEDIES, CcxtExchange
from hybrid_ml.feeds.ccxt_feed import LIMITS, CcxtFeed
from hybrid_ml.feeds.feed import PLAN_MINUTES
from hybrid_ml.feeds.history import Loaded, load_history, plan_history, plan_repair
from hybrid_ml.feeds.limited_client import MOST_TRIES, LimitedClient
from hybrid_ml.feeds.markets import Markets
from hybrid_ml.feeds.opening import open_feed
from hybrid_ml.feeds.pace import Pace
from hybrid_ml.feeds.refresh import refresh_all, refresh_bars
from hybrid_ml.feeds.shared_budget import SharedBudget
from hybrid_ml.store.coverage import Instrument, read_instruments
from tests.conftest import ROOT
from tests.exchange_server import RETRY_AFTER_SECONDS, Exchange, ManualTime, Market, exchange_server, seeded_faults
from tests.flows.running import rows
from tests.kraken_server import Kraken
from tests.store.test_exchange import COVERAGE, DAY, END, NOW

MINUTE = timedelta(minutes=1)
SYMBOL = "ABC/USDT"
STORED = """SELECT (extract(epoch FROM time) * 1000)::bigint, open, high, low, close, volume FROM bars
    WHERE symbol = '{}' AND trades IS NULL ORDER BY time"""
KRAKEN_MINUTES = LIMITS["kraken"].minutes - PLAN_MINUTES
SPOT = {"fetchMarkets": {"types": ["spot"]}}


@pytest.fixture
def time() -> ManualTime:
    return ManualTime(NOW)


@pytest.fixture
def exchange(time: ManualTime) -> Iterator[Exchange]:
    """Speaks Binance's language, as ccxt understands it."""
    markets = {name: Market(listed=NOW - 400 * DAY) for name in ("ABCUSDT", "XYZUSDT")}
    with exchange_server(Exchange(time.exchange_now, markets)) as served:
        yield served


@pytest.fixture
def kraken(time: ManualTime) -> Iterator[Exchange]:
    markets = {name: Market(listed=NOW - 20 * DAY) for name in ("ABCUSD", "XYZUSD")}
    with exchange_server(Kraken(time.exchange_now, markets)) as served:
        yield served


class Load:
    """One process that loads from exchange `name` of ccxt, which answers at the address of `exchange`."""

    def __init__(
        self, engine: Engine, exchange: Exchange, time: ManualTime, folder: Path, name: str = "binance",
        wait: Callable[[float], None] | None = None,
    ) -> None:  # fmt: skip
        self.engine, self.time = engine, time
        limits = Pace(SharedBudget(engine, name, 900), 0.05, time.now)
        client = LimitedClient(
            name, httpx.Client(timeout=20), limits, time.now, wait or time.wait, lambda: 0.5, REMEDIES
        )
        served = CcxtExchange(name, client, exchange.url, SPOT if name == "binance" else None)
        self.feed = CcxtFeed(served, Markets(served, folder), settling_seconds=2)

    def __call__(self, symbol: str = SYMBOL, days: int = 1, until: datetime | None = None) -> Loaded:
        plan = plan_history(self.engine, self.feed, symbol, days, until)
        return load_history(self.engine, self.feed, plan, lambda _: None)


@pytest.fixture
def load(engine: Engine, exchange: Exchange, time: ManualTime, tmp_path: Path) -> Load:
    return Load(engine, exchange, time, tmp_path)


def source(exchange: Exchange, since: datetime, until: datetime, symbol: str = "ABCUSDT") -> list[tuple[Any, ...]]:
    return [(bar[0], *map(float, bar[1:6])) for bar in exchange.bars(symbol, since, until)]


def asked(exchange: Exchange) -> list[str]:
    return [path.rsplit("/", 1)[1] for path, _ in exchange.requests]


def test_bars_are_equal_to_the_source(engine: Engine, exchange: Exchange, load: Load) -> None:
    loaded = load(days=2)
    assert rows(engine, STORED.format(SYMBOL)) == source(exchange, END - 2 * DAY, END)
    assert (loaded.pages, loaded.written, loaded.minutes["have"]) == (3, 2_880, 2_880)
    assert rows(engine, COVERAGE.format(SYMBOL)) == [(END - 2 * DAY, END, "have")]
    assert rows(engine, "SELECT feed, feed_symbol, listed_at, delisted_at FROM instruments") == [
        ("binance", SYMBOL, exchange.markets["ABCUSDT"].listed.replace(second=0) + MINUTE, None)
    ]
    assert load(days=2).pages == 0


@pytest.mark.parametrize("offset", [timedelta(days=-200), timedelta(seconds=-90), timedelta(seconds=90)])
def test_clock_of_the_exchange_decides_what_is_final(
    engine: Engine, exchange: Exchange, load: Load, time: ManualTime, offset: timedelta
) -> None:
    time._offset = offset
    load()
    end = (NOW + offset).replace(second=0)
    assert rows(engine, STORED.format(SYMBOL)) == source(exchange, end - DAY, end)
    assert load.feed.read_clock() - time.exchange_now() < timedelta(seconds=1)


def test_minutes_that_the_exchange_omits_are_gaps(engine: Engine, exchange: Exchange, load: Load) -> None:
    market, begin = exchange.markets["ABCUSDT"], END - DAY
    market.no_trades = {begin + n * MINUTE for n in (10, 11, 500)}
    market.missing = {begin + n * MINUTE for n in range(900, 1_010)}
    assert load().minutes == {"have": 1_327, "no_trades": 3, "source_gap": 110, "unknown": 0}
    assert rows(engine, STORED.format(SYMBOL)) == source(exchange, begin, END)


@pytest.mark.parametrize("most_rows", [1, 300])
def test_page_that_is_cut_short_is_continued_by_time(
    engine: Engine, exchange: Exchange, load: Load, most_rows: int
) -> None:
    exchange.most_rows = most_rows
    begin = END - timedelta(minutes=700 if most_rows > 1 else 30)
    exchange.markets["ABCUSDT"].listed = begin
    load()
    assert rows(engine, STORED.format(SYMBOL)) == source(exchange, begin, END)


def test_exchange_that_answers_for_a_range_is_asked_range_by_range(
    engine: Engine, exchange: Exchange, load: Load
) -> None:
    """An empty range says nothing about the next one."""
    answer = exchange.klines

    def in_range(symbol: str, start: int | None, end: int | None, limit: int) -> list[list[Any]]:
        end = end if start is None else start + limit * 60_000 - 1
        return answer(symbol, start, end, limit)

    exchange.klines = in_range  # type: ignore[method-assign]
    exchange.most_rows = 100
    exchange.markets["ABCUSDT"].listed = END - timedelta(minutes=1_800)
    exchange.markets["ABCUSDT"].missing = {END - n * MINUTE for n in range(400, 900)}
    load.feed._most_rows = lambda _: 100  # type: ignore[method-assign]
    one = Instrument(SYMBOL, "binance", SYMBOL)
    found = load.feed.fetch(one, END - timedelta(minutes=1_000), END)
    assert len(found.rows) == 1_000 - 500


@pytest.mark.parametrize("is_listed", [True, False])
def test_delisted_symbol_ends_with_its_last_bar(
    engine: Engine, exchange: Exchange, load: Load, is_listed: bool
) -> None:
    delisted = END - timedelta(minutes=600)
    exchange.markets["ABCUSDT"] = Market(END - 9 * DAY, delisted, is_in_exchange_info=is_listed)
    if not is_listed:
        with pytest.raises(ExchangeRefused, match="binance has no symbol ABC/USDT"):
            load()
        return
    load()
    assert rows(engine, "SELECT delisted_at FROM instruments") == [(delisted,)]
    assert load(until=END).pages == 0


@pytest.mark.parametrize(
    ("symbol", "hint"), [("ABCUSDT", "did you mean ABC/USDT"), ("ABC/UTSD", "ABC/USDT"), ("QQ", "such as BTC/USDT")]
)
def test_unknown_symbol_is_refused_with_the_nearest_names(load: Load, symbol: str, hint: str) -> None:
    with pytest.raises(ExchangeRefused, match=f"binance has no symbol {symbol}; .*{hint}"):
        load(symbol)


@pytest.mark.parametrize(("fault", "status"), [("legal", 451), ("forbidden", 403)])
def test_refusal_of_this_place_is_final_and_names_a_remedy(
    exchange: Exchange, load: Load, fault: str, status: int
) -> None:
    """ccxt calls it a network error."""
    exchange.orders = [fault]
    with pytest.raises(ExchangeRefused, match=rf"binance answered {status}.*HYBRID_ML_EXCHANGE_URLS"):
        load()
    assert asked(exchange).count("klines") == 1


@pytest.mark.parametrize("fault", ["too_many", "error_500", "bad_gateway", "garbage", "object"])
def test_lasting_fault_ends_after_bounded_tries_and_stores_nothing(
    engine: Engine, exchange: Exchange, load: Load, fault: str
) -> None:
    """ccxt makes bars of None of an answer that is no JSON."""
    exchange.orders = ["", *[fault] * MOST_TRIES]
    with pytest.raises(ExchangeUnavailable, match=f"no usable answer in {MOST_TRIES} tries"):
        load()
    assert rows(engine, "SELECT count(*) FROM bars UNION ALL SELECT count(*) FROM coverage") == [(0,), (0,)]
    load(until=END)
    assert rows(engine, STORED.format(SYMBOL)) == source(exchange, END - DAY, END)


@pytest.mark.parametrize(
    "values", [{4: "Infinity"}, {4: None}, {4: "x"}, {0: round(END.timestamp() - 1_800) * 1_000 + 1}]
)
def test_row_that_is_no_bar_stores_nothing(
    engine: Engine, exchange: Exchange, load: Load, values: dict[int, Any]
) -> None:
    exchange.revisions[END - timedelta(minutes=30)] = values
    with pytest.raises(ExchangeUnavailable, match=f"no usable answer in {MOST_TRIES} tries"):
        load(until=END)
    assert rows(engine, "SELECT count(*) FROM bars") == [(1_000,)], "the page before it"


def test_seeded_faults_end_equal_to_the_source(engine: Engine, exchange: Exchange, load: Load) -> None:
    exchange.plan = seeded_faults(seed=5, share=0.3)
    load(days=12)
    end = load.feed.describe(SYMBOL)[1]
    assert rows(engine, STORED.format(SYMBOL)) == source(exchange, END - 12 * DAY, end)[: 12 * 1_440]
    assert len([fault for fault in exchange.faults if fault]) > 5


def test_network_that_is_gone_is_named(engine: Engine, exchange: Exchange, load: Load) -> None:
    load(until=END - 60 * MINUTE)
    load.feed._exchange._local.exchange.urls["api"]["public"] = "http://127.0.0.1:1/api/v3"
    with pytest.raises(ExchangeUnavailable, match=f"no usable answer in {MOST_TRIES} tries, the last: ConnectError"):
        load()
    assert len(rows(engine, STORED.format(SYMBOL))) == 1_440


def interrupt(_: float) -> None:
    raise InterruptedError


@pytest.mark.parametrize("fault", ["too_many", "banned"])
def test_429_and_418_are_waited_for_by_every_process(
    engine: Engine, exchange: Exchange, load: Load, tmp_path: Path, fault: str
) -> None:
    exchange.orders = [fault]

    def wait(seconds: float) -> None:
        load.time.wait(seconds) if seconds < 1 else interrupt(seconds)

    with pytest.raises(InterruptedError):
        Load(engine, exchange, load.time, tmp_path, wait=wait)()
    load("XYZ/USDT")
    assert max(load.time.waits) == pytest.approx(RETRY_AFTER_SECONDS[fault], abs=1)


def test_list_of_markets_is_asked_for_once_an_hour(
    engine: Engine, exchange: Exchange, load: Load, time: ManualTime, tmp_path: Path
) -> None:
    load()
    Load(engine, exchange, time, tmp_path)("XYZ/USDT")
    assert asked(exchange).count("exchangeInfo") == 1
    (kept,) = tmp_path.glob("*.json")
    kept.write_text(kept.read_text()[:-50])
    Load(engine, exchange, time, tmp_path)("XYZ/USDT")
    time.wait(3_700)
    load()
    assert asked(exchange).count("exchangeInfo") == 3


def instrument(engine: Engine, symbol: str = SYMBOL) -> Instrument:
    with engine.connect() as connection:
        return read_instruments(connection, [symbol])[0]


def test_threads_share_one_feed(engine: Engine, exchange: Exchange, load: Load, time: ManualTime) -> None:
    names = [f"S{number}" for number in range(12)]
    exchange.markets = {f"{name}USDT": Market(NOW - 400 * DAY) for name in names}
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda name: load(f"{name}/USDT", until=END - 9 * MINUTE), names))
    exchange.plan = seeded_faults(seed=2, share=0.2)
    results = refresh_all(
        load.feed,
        [instrument(engine, f"{name}/USDT") for name in names],
        END,
        lambda one: refresh_bars(engine, load.feed, one, END, time.wait),
    )
    assert [result.problem for result in results] == [""] * len(names)
    for name in names:
        assert rows(engine, STORED.format(f"{name}/USDT")) == source(
            exchange, END - 9 * MINUTE - DAY, END, f"{name}USDT"
        )


def test_kraken_serves_its_newest_hours_and_names_its_archive(
    engine: Engine, kraken: Exchange, time: ManualTime, tmp_path: Path
) -> None:
    load = Load(engine, kraken, time, tmp_path, "kraken")
    kraken.markets["ABCUSD"].no_trades = {END - n * MINUTE for n in range(100, 300)}
    plan = plan_history(engine, load.feed, "ABC/USD", 90, None)
    first = END - KRAKEN_MINUTES * MINUTE
    assert (plan.since, plan.until) == (first, END)
    assert "kraken serves the newest 720 minutes only; older bars are in Kraken's archive of OHLCVT files" in plan.note
    assert "--source file --csv_path FILE --symbol ABC/USD" in plan.note
    loaded = load_history(engine, load.feed, plan, lambda _: None)
    assert loaded.minutes == {"have": 515, "no_trades": 200, "source_gap": 0, "unknown": 0}
    assert rows(engine, STORED.format("ABC/USD")) == source(kraken, first, END, "ABCUSD")
    with pytest.raises(ExchangeRefused, match="kraken serves the newest 720 minutes only; older bars are in"):
        load.feed.fetch(plan.instrument, END - DAY, END - DAY + 100 * MINUTE)


def test_kraken_after_a_long_outage_goes_on_with_what_it_serves(
    engine: Engine, kraken: Exchange, time: ManualTime, tmp_path: Path
) -> None:
    load = Load(engine, kraken, time, tmp_path, "kraken")
    load("ABC/USD")
    time.wait(3 * 86_400)
    end = END + 3 * DAY
    one, first = instrument(engine, "ABC/USD"), end - KRAKEN_MINUTES * MINUTE
    refresh_bars(engine, load.feed, one, end, time.wait)
    load_history(engine, load.feed, plan_repair(engine, load.feed, one), lambda _: None)
    assert rows(engine, STORED.format("ABC/USD"))[-715:] == source(kraken, first, end, "ABCUSD")
    assert rows(engine, COVERAGE.format("ABC/USD"))[1][:2] == (first, end)


def test_refusal_in_the_body_of_a_200_is_one(
    engine: Engine, kraken: Exchange, time: ManualTime, tmp_path: Path
) -> None:
    load = Load(engine, kraken, time, tmp_path, "kraken")
    load("ABC/USD")
    answer, errors = kraken.answer, ["EGeneral:Too many requests"]

    def refusing(path: str, asked: dict[str, str]) -> tuple[int, Any]:
        if path.endswith("OHLC") and errors:
            return 200, {"error": [errors.pop()]}
        return answer(path, asked)

    kraken.answer = refusing  # type: ignore[method-assign]
    time.wait(300)
    assert load("ABC/USD").minutes["have"] == 5
    assert BRIEF_PAUSE_SECONDS - 1 < max(time.waits[:-1]) <= 300
    errors[:] = ["EGeneral:Invalid arguments"]
    time.wait(300)
    with pytest.raises(ExchangeRefused, match=r"kraken refuses .*Invalid arguments"):
        load("ABC/USD")


def opened(engine: Engine, name: str, **settings: Any) -> Any:
    with ExitStack() as stack:
        chosen = load_settings().model_copy(update=settings)
        return stack.enter_context(open_feed(name, chosen, engine, lambda: datetime.now(UTC), interrupt))


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("krakn", r"no exchange krakn in ccxt 4\.5\.\d+; did you mean kraken"),
        ("x" * 30, r"no exchange x+ in ccxt .*; see https://docs\.ccxt\.com"),
        ("zaif", "zaif has no one-minute bars in its public API; use another exchange, or load files"),
    ],
)
def test_exchange_that_is_none_is_refused(engine: Engine, name: str, words: str) -> None:
    with pytest.raises(ExchangeRefused, match=words):
        opened(engine, name)


def test_exchange_is_asked_at_the_address_of_the_settings(engine: Engine, kraken: Exchange, tmp_path: Path) -> None:
    feed = opened(engine, "kraken", hybrid_ml_exchange_urls=f"okx=http://127.0.0.1:1,kraken={kraken.url}/")
    assert feed.name == "kraken"
    assert feed._exchange.address == kraken.url


def test_missing_extra_is_named(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "ccxt", None)
    monkeypatch.delitem(__import__("sys").modules, "hybrid_ml.feeds.ccxt_feed")
    monkeypatch.delitem(__import__("sys").modules, "hybrid_ml.feeds.ccxt_exchange")
    monkeypatch.delitem(__import__("sys").modules, "hybrid_ml.feeds.markets")
    with pytest.raises(BadInput, match=r"--exchange kraken needs ccxt.*pip install '\.\[exchanges\]'.*binance.*sql"):
        opened(engine, "kraken")


def test_extra_resolves_with_the_lock() -> None:
    """What ccxt needs, and what that needs in turn, is content with the versions of requirements.lock."""
    locks = [(ROOT / name).read_text(encoding="utf-8") for name in ("requirements.lock", "requirements-dev.lock")]
    pins, with_ccxt = (dict(re.findall(r"^([\w.-]+)==([^\s;]+)", lock, flags=re.MULTILINE)) for lock in locks)
    assert {name: version for name, version in pins.items() if with_ccxt.get(name) != version} == {}
    checked, waiting = set(), ["ccxt"]
    while waiting:
        name = waiting.pop()
        checked.add(name)
        for text in metadata.requires(name) or []:
            needed = Requirement(text)
            other = needed.name.lower().replace("_", "-")
            if needed.marker is None or needed.marker.evaluate({"extra": ""}):
                assert needed.specifier.contains(with_ccxt[other]), text
                waiting += [other] if other not in checked else []
    assert {"aiohttp", "requests", "cryptography"} <= checked


def test_list_of_markets_can_be_kept(tmp_path: Path, engine: Engine, exchange: Exchange, load: Load) -> None:
    load()
    (kept,) = tmp_path.glob("*.json")
    assert [market["symbol"] for market in json.loads(kept.read_text())["markets"]] == [SYMBOL, "XYZ/USDT"]
