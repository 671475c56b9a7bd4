"""The history of an exchange, from a server on loopback into a real PostgreSQL: nothing lost, nothing asked twice."""

from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest
from sqlalchemy import Engine

from hybrid_ml.errors import BadInput, ExchangeRefused, ExchangeUnavailable
from hybrid_ml.feeds.binance import EXCHANGES, BinanceFeed
from hybrid_ml.feeds.history import Loaded, load_history, plan_history
from hybrid_ml.feeds.limited_client import MOST_TRIES, LimitedClient
from hybrid_ml.feeds.shared_budget import SharedBudget
from tests.exchange_server import (
    FAULTS,
    RETRY_AFTER_SECONDS,
    Exchange,
    ManualTime,
    Market,
    exchange_server,
    seeded_faults,
)
from tests.flows.running import rows

NOW = datetime(2024, 3, 5, 12, 0, 40, tzinfo=UTC)
END = NOW.replace(second=0)
DAY = timedelta(days=1)
STORED = """SELECT (extract(epoch FROM time) * 1000)::bigint, open, high, low, close, volume, quote_volume, trades,
    taker_buy_volume FROM bars WHERE symbol = '{}' ORDER BY time"""
COVERAGE = "SELECT from_time, to_time, state FROM coverage WHERE symbol = '{}' ORDER BY from_time"


class Load:
    """One process that loads: its clock, its feed, what it reported."""

    def __init__(
        self,
        engine: Engine,
        exchange: Exchange,
        time: ManualTime,
        wait: Callable[[float], None] | None = None,
        name: str = "binance",
    ) -> None:
        self.engine, self.time = engine, time
        limits = SharedBudget(engine, name, EXCHANGES[name].most_weight)
        client = httpx.Client(base_url=exchange.url, timeout=20)
        limited = LimitedClient(name, client, limits, time.now, wait or time.wait, chance=lambda: 0.5)
        self.feed = BinanceFeed(EXCHANGES[name], limited, settling_seconds=2)
        self.minutes: list[int] = []

    def __call__(self, symbol: str = "ABCUSDT", days: int = 1, until: datetime | None = None) -> Loaded:
        plan = plan_history(self.engine, self.feed, symbol, days, until)
        return load_history(self.engine, self.feed, plan, self.minutes.append)


@pytest.fixture
def time() -> ManualTime:
    return ManualTime(NOW)


@pytest.fixture
def exchange(time: ManualTime) -> Iterator[Exchange]:
    markets = {name: Market(listed=NOW - 400 * DAY) for name in ("ABCUSDT", "XYZUSDT")}
    with exchange_server(Exchange(time.exchange_now, markets)) as served:
        yield served


@pytest.fixture
def load(engine: Engine, exchange: Exchange, time: ManualTime) -> Load:
    return Load(engine, exchange, time)


def source(exchange: Exchange, since: datetime, until: datetime, symbol: str = "ABCUSDT") -> list[tuple[Any, ...]]:
    bars = exchange.bars(symbol, since, until)
    return [(bar[0], *map(float, bar[1:6]), float(bar[7]), bar[8], float(bar[9])) for bar in bars]


def test_bars_are_equal_to_the_source_with_every_column(engine: Engine, exchange: Exchange, load: Load) -> None:
    loaded = load(days=2)
    assert rows(engine, STORED.format("ABCUSDT")) == source(exchange, END - 2 * DAY, END)
    assert (loaded.pages, loaded.written, loaded.minutes["have"]) == (3, 2_880, 2_880)
    assert rows(engine, COVERAGE.format("ABCUSDT")) == [(END - 2 * DAY, END, "have")]
    assert load.minutes == [1_000, 1_000, 880]


def test_answered_minutes_are_not_asked_again(exchange: Exchange, load: Load, time: ManualTime) -> None:
    load()
    exchange.requests.clear()
    assert load().pages == 0
    time.wait(300)
    assert (loaded := load()).minutes["have"] == 5
    assert loaded.pages == 1
    assert load(days=2).minutes["have"] == 1_435


def test_newest_bar_is_stored_only_when_it_is_final(engine: Engine, exchange: Exchange, time: ManualTime) -> None:
    time.wait(20.5)  # 12:01:00.5, and a bar counts two seconds after its minute
    load = Load(engine, exchange, time)
    load()
    assert rows(engine, STORED.format("ABCUSDT")) == source(exchange, END - DAY, END)
    time.wait(2)
    load()
    assert rows(engine, STORED.format("ABCUSDT")) == source(exchange, END - DAY, END + timedelta(minutes=1))


@pytest.mark.parametrize("offset", [timedelta(days=-200), timedelta(seconds=-90), timedelta(seconds=90)])
def test_clock_of_the_exchange_decides_what_is_final(engine: Engine, exchange: Exchange, offset: timedelta) -> None:
    time = ManualTime(NOW, offset)
    exchange.clock = time.exchange_now
    Load(engine, exchange, time)()
    end = (NOW + offset).replace(second=0)
    assert rows(engine, STORED.format("ABCUSDT")) == source(exchange, end - DAY, end)


def test_empty_minutes_are_recorded_and_not_asked_again(engine: Engine, exchange: Exchange, load: Load) -> None:
    market = exchange.markets["ABCUSDT"]
    begin = END - DAY
    market.no_trades = {begin + timedelta(minutes=n) for n in (10, 11, 500)}
    market.missing = {begin + timedelta(minutes=n) for n in range(900, 1_010)}
    loaded = load()
    assert rows(engine, STORED.format("ABCUSDT")) == source(exchange, begin, END)
    assert loaded.minutes == {"have": 1_327, "no_trades": 3, "source_gap": 110, "unknown": 0}
    minute = timedelta(minutes=1)
    gap = (begin + 900 * minute, begin + 1_010 * minute, "source_gap")
    assert gap in rows(engine, COVERAGE.format("ABCUSDT"))
    market.missing.clear()
    assert load().pages == 0


def test_bar_that_is_late_is_asked_again(engine: Engine, exchange: Exchange, load: Load, time: ManualTime) -> None:
    late = {END - timedelta(minutes=n) for n in (1, 2)}
    exchange.markets["ABCUSDT"].missing = set(late)
    assert load().minutes["unknown"] == 2
    exchange.markets["ABCUSDT"].missing.clear()
    assert load().minutes["have"] == 2
    assert rows(engine, STORED.format("ABCUSDT")) == source(exchange, END - DAY, END)


def test_page_that_is_cut_short_is_continued_by_time(engine: Engine, exchange: Exchange, load: Load) -> None:
    exchange.most_rows = 300
    load()
    assert rows(engine, STORED.format("ABCUSDT")) == source(exchange, END - DAY, END)
    assert rows(engine, COVERAGE.format("ABCUSDT")) == [(END - DAY, END, "have")]


def test_history_begins_with_the_listing(engine: Engine, exchange: Exchange, load: Load) -> None:
    exchange.markets["ABCUSDT"].listed = END - timedelta(minutes=90)
    assert load(days=30).pages == 1
    assert len(rows(engine, STORED.format("ABCUSDT"))) == 90
    assert rows(engine, "SELECT feed, feed_symbol, calendar, listed_at, delisted_at FROM instruments") == [
        ("binance", "ABCUSDT", "24/7", END - timedelta(minutes=90), None)
    ]


@pytest.mark.parametrize("is_in_exchange_info", [True, False])
def test_delisted_symbol_ends_with_its_last_bar(
    engine: Engine, exchange: Exchange, load: Load, is_in_exchange_info: bool
) -> None:
    delisted = END - timedelta(minutes=600)
    exchange.markets["ABCUSDT"] = Market(END - 9 * DAY, delisted, is_in_exchange_info=is_in_exchange_info)
    load()
    assert rows(engine, COVERAGE.format("ABCUSDT")) == [(END - DAY, delisted, "have")]
    assert rows(engine, "SELECT delisted_at FROM instruments") == [(delisted,)]
    assert load(days=1, until=END).pages == 0


def test_symbol_keeps_its_exchange(engine: Engine, load: Load) -> None:
    load()
    other = Exchange(load.time.exchange_now, {"ABCUSDT": Market(NOW - 9 * DAY)})
    refused = pytest.raises(BadInput, match=r"ABCUSDT: its bars are from binance.*--exchange binance")
    with exchange_server(other), refused:
        Load(engine, other, load.time, name="binanceus")()


@pytest.mark.parametrize(
    ("symbol", "hint"),
    [("ABCUSTD", "did you mean ABCUSDT"), ("abc/usdt", "ABCUSDT"), ("QQ", "write it as the exchange")],
)
def test_unknown_symbol_is_refused_with_the_nearest_names(load: Load, symbol: str, hint: str) -> None:
    with pytest.raises(ExchangeRefused, match=f"binance has no symbol {symbol}; .*{hint}"):
        load(symbol)
    assert load.time.waits == []


@pytest.mark.parametrize(("fault", "status"), [("legal", 451), ("forbidden", 403)])
def test_refusal_of_this_place_is_final_and_names_a_remedy(
    exchange: Exchange, load: Load, fault: str, status: int
) -> None:
    exchange.orders = [fault]
    with pytest.raises(
        ExchangeRefused, match=rf"binance answered {status}.*--exchange binanceus.*HYBRID_ML_BINANCE_URL"
    ):
        load()
    assert len(exchange.requests) == 1


@pytest.mark.parametrize("fault", ["too_many", "error_500", "bad_gateway", "garbage", "object", "infinite", "off_grid"])
def test_lasting_fault_ends_after_bounded_tries_and_stores_nothing(
    engine: Engine, exchange: Exchange, load: Load, fault: str
) -> None:
    exchange.orders = ["", *[fault] * MOST_TRIES]
    with pytest.raises(
        ExchangeUnavailable, match=f"no usable answer in {MOST_TRIES} tries.*the next load continues after it"
    ):
        load()
    assert rows(engine, "SELECT count(*) FROM bars UNION ALL SELECT count(*) FROM coverage") == [(0,), (0,)]
    load(until=END)
    assert rows(engine, STORED.format("ABCUSDT")) == source(exchange, END - DAY, END)


@pytest.mark.parametrize("fault", ["cut", "drop"])
def test_answer_that_is_cut_is_asked_again(engine: Engine, exchange: Exchange, load: Load, fault: str) -> None:
    exchange.orders = ["", fault, fault]
    load()
    assert len(rows(engine, STORED.format("ABCUSDT"))) == 1_440
    assert [round(seconds, 2) for seconds in load.time.waits] == [0.75, 1.5]


def test_answer_without_date_is_used_only_once_the_clock_is_known(exchange: Exchange, load: Load) -> None:
    exchange.orders = ["undated"]
    assert load().minutes["have"] == 1_440
    assert exchange.faults.count("undated") == 1
    assert len(load.time.waits) == 1, "the first was asked again"
    exchange.orders = ["", "undated"]
    load(days=2)
    assert len(load.time.waits) == 1


def interrupt(_: float) -> None:
    raise InterruptedError


def test_429_is_waited_for_by_every_process(engine: Engine, exchange: Exchange, load: Load) -> None:
    exchange.orders = ["too_many"]
    with pytest.raises(InterruptedError):
        Load(engine, exchange, load.time, interrupt)()
    load("XYZUSDT")
    assert load.time.waits == [7]


def test_ban_is_waited_for_by_every_process(engine: Engine, exchange: Exchange, load: Load) -> None:
    exchange.orders = ["banned"]
    for symbol in ("ABCUSDT", "XYZUSDT"):
        with pytest.raises(InterruptedError):
            Load(engine, exchange, load.time, interrupt)(symbol)
    assert len(exchange.requests) == 1, "nobody asks while the ban lasts"
    assert load("XYZUSDT").minutes["have"] == 1_440
    assert load.time.waits == [120]


def test_long_ban_ends_the_command(exchange: Exchange, load: Load, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(RETRY_AFTER_SECONDS, "banned", 3_600)
    exchange.orders = ["banned"]
    with pytest.raises(ExchangeUnavailable, match=r"has banned this address for another 3,\d\d\d s"):
        load()


def test_weight_stays_within_the_budget_of_all_processes(engine: Engine, exchange: Exchange, load: Load) -> None:
    most = EXCHANGES["binance"].most_weight
    exchange.weight_used = most - 30  # another program at this address
    load()
    assert load.time.waits == [], "22 for the description, 4 for two pages"
    exchange.weight_used = most
    load(days=2)
    Load(engine, exchange, load.time)("XYZUSDT")
    assert load.time.waits[0] == pytest.approx(20)


def test_seeded_faults_end_equal_to_the_source(engine: Engine, exchange: Exchange, load: Load) -> None:
    exchange.plan = seeded_faults(seed=5, share=0.35)
    exchange.markets["ABCUSDT"].missing = {END - DAY + timedelta(minutes=n) for n in range(990, 1_100)}
    load(days=20)
    end = load.feed.describe("ABCUSDT")[1]
    assert rows(engine, STORED.format("ABCUSDT")) == source(exchange, END - 20 * DAY, end)[: 20 * 1_440 - 110]
    assert set(FAULTS) <= set(exchange.faults)


def test_rejected_row_is_kept_with_its_reason_once(engine: Engine, exchange: Exchange, load: Load) -> None:
    exchange.markets["ABCUSDT"].listed = END - timedelta(minutes=60)
    exchange.klines = absurd(exchange.klines)  # type: ignore[method-assign]
    assert load().rejected == 1
    assert rows(engine, "SELECT symbol, source, reason FROM bars_set_aside") == [
        ("ABCUSDT", "binance", "price is more than 10 times off its neighbours")
    ]
    assert len(rows(engine, STORED.format("ABCUSDT"))) == 59
    assert load().pages == 0


def absurd(klines: Any) -> Any:
    """The answers of an exchange whose bar half an hour ago has a high a thousand times too high."""
    when = round((END - timedelta(minutes=30)).timestamp() * 1_000)
    return lambda *asked: [[*row[:2], "100000.0", *row[3:]] if row[0] == when else row for row in klines(*asked)]
