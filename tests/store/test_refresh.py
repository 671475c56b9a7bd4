"""Bars up to a slot, from an exchange on loopback: final by its clock, late ones waited for, changed ones kept."""

from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import Engine

from hybrid_ml.errors import ClockWrong, ExchangeUnavailable
from hybrid_ml.feeds.binance import BinanceFeed
from hybrid_ml.feeds.history import Loaded, load_history, plan_repair
from hybrid_ml.feeds.refresh import (
    DEADLINE_SECONDS,
    LATE_SECONDS,
    PERHAPS_EMPTY_SECONDS,
    SlotWait,
    refresh_all,
    refresh_bars,
    wait_until_final,
)
from hybrid_ml.store.coverage import Instrument, read_instruments
from tests.exchange_server import Exchange, ManualTime, Market, exchange_server, kline, milliseconds
from tests.flows.running import rows
from tests.store.test_exchange import COVERAGE, DAY, STORED, Load, source

SLOT = datetime(2024, 3, 5, 12, 10, tzinfo=UTC)
AHEAD = SLOT - timedelta(seconds=10)
MINUTE = timedelta(minutes=1)
SETTLING = 2.0
SYMBOL = "ABCUSDT"


@pytest.fixture
def time() -> ManualTime:
    return ManualTime(AHEAD)


@pytest.fixture
def exchange(time: ManualTime) -> Iterator[Exchange]:
    markets = {name: Market(listed=SLOT - 400 * DAY) for name in (SYMBOL, "XYZUSDT")}
    with exchange_server(Exchange(time.exchange_now, markets)) as served:
        yield served


@pytest.fixture
def load(engine: Engine, exchange: Exchange, time: ManualTime) -> Load:
    """With a day of history until nine minutes before the slot."""
    load = Load(engine, exchange, time)
    load(days=1, until=SLOT - 9 * MINUTE)
    exchange.requests.clear()
    return load


def instrument(engine: Engine, symbol: str = SYMBOL) -> Instrument:
    with engine.connect() as connection:
        return read_instruments(connection, [symbol])[0]


def refreshed(load: Load, until: datetime = SLOT) -> Loaded:
    """What the refresh stage does for one symbol."""
    wait = SlotWait(load.time.now, load.time.wait, until + timedelta(seconds=DEADLINE_SECONDS))
    wait_until_final(load.feed, until, SETTLING, load.time.now, wait)
    return refresh_bars(load.engine, load.feed, instrument(load.engine), until, wait)


def klines(exchange: Exchange) -> list[dict[str, str]]:
    return [asked for path, asked in exchange.requests if path.endswith("klines")]


def test_slot_needs_one_request_which_is_sent_when_its_bar_is_final(
    engine: Engine, exchange: Exchange, load: Load, time: ManualTime
) -> None:
    loaded = refreshed(load)
    assert time.exchange_now() == SLOT + timedelta(seconds=SETTLING)
    assert len(klines(exchange)) == 1
    assert loaded.newest == SLOT - MINUTE
    assert loaded.written == 9
    assert rows(engine, STORED.format(SYMBOL)) == source(exchange, SLOT - 9 * MINUTE - DAY, SLOT)
    assert rows(engine, COVERAGE.format(SYMBOL)) == [(SLOT - 9 * MINUTE - DAY, SLOT, "have")]


def test_symbol_whose_listing_is_not_known_is_refreshed(engine: Engine, load: Load) -> None:
    unlisted = replace(instrument(engine), listed_at=None)
    assert refresh_bars(engine, load.feed, unlisted, SLOT - MINUTE, load.time.wait).newest == SLOT - 2 * MINUTE


@pytest.mark.parametrize("offset", [timedelta(seconds=-20), timedelta(seconds=20)])
def test_clock_of_the_exchange_decides_when(
    engine: Engine, exchange: Exchange, time: ManualTime, offset: timedelta
) -> None:
    load = Load(engine, exchange, time)
    load(days=1, until=SLOT - 9 * MINUTE)
    time._offset = offset
    refreshed(load)
    assert time.exchange_now() == max(AHEAD + offset, SLOT + timedelta(seconds=SETTLING))
    assert rows(engine, STORED.format(SYMBOL))[-1][0] == milliseconds(SLOT - MINUTE)


@pytest.mark.parametrize(("offset", "words"), [(-3_600, "3,600 s ahead of"), (3_600, "3,600 s behind")])
def test_clock_that_is_wrong_by_an_hour_is_named(load: Load, time: ManualTime, offset: float, words: str) -> None:
    time._offset = timedelta(seconds=offset)
    with pytest.raises(ClockWrong, match=f"this machine's clock is {words} that of binance; set it"):
        refreshed(load)


def test_newest_bars_are_asked_again_and_a_changed_one_is_kept_as_it_was(
    engine: Engine, exchange: Exchange, load: Load, time: ManualTime
) -> None:
    refreshed(load)
    changed, old = SLOT - 2 * MINUTE, kline(milliseconds(SLOT - 2 * MINUTE) // 60_000)
    exchange.revisions[changed] = {4: "101.5", 2: "120"}
    time.wait(600)
    refreshed(load, SLOT + 10 * MINUTE)
    assert rows(engine, "SELECT * FROM bar_revisions") == [], "more than five minutes before the slot"
    exchange.revisions[SLOT + 7 * MINUTE] = {4: "101.5", 2: "120"}
    time.wait(30)
    refreshed(load, SLOT + 10 * MINUTE)
    (kept,) = rows(engine, "SELECT symbol, time, high, close FROM bar_revisions")
    old = kline(milliseconds(SLOT + 7 * MINUTE) // 60_000)
    assert kept == (SYMBOL, SLOT + 7 * MINUTE, float(old[2]), float(old[4]))
    (now,) = rows(engine, f"SELECT close FROM bars WHERE time = '{SLOT + 7 * MINUTE}'")
    assert now == (101.5,)


def test_late_bar_is_waited_for(engine: Engine, exchange: Exchange, load: Load, time: ManualTime) -> None:
    exchange.late[SLOT - MINUTE] = SLOT + timedelta(seconds=SETTLING + 3)
    assert refreshed(load).newest == SLOT - MINUTE
    assert SLOT + timedelta(seconds=SETTLING + 3) <= time.exchange_now() < SLOT + timedelta(seconds=SETTLING + 4)
    assert rows(engine, STORED.format(SYMBOL))[-1][0] == milliseconds(SLOT - MINUTE)


def test_minute_of_a_feed_that_omits_empty_ones_is_waited_for_briefly_and_is_not_late(
    engine: Engine, exchange: Exchange, load: Load, time: ManualTime, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(BinanceFeed, "states_empty_minutes", False)
    exchange.late = {SLOT - n * MINUTE: SLOT + 60 * MINUTE for n in range(1, 5)}
    (result,) = refresh_all(load.feed, [instrument(engine)], SLOT, lambda _: refreshed(load))
    assert result.problem == ""
    assert time.exchange_now() - SLOT == timedelta(seconds=SETTLING + PERHAPS_EMPTY_SECONDS)
    exchange.late[SLOT - 5 * MINUTE] = SLOT + 60 * MINUTE
    exchange.late |= {SLOT + n * MINUTE: SLOT + 60 * MINUTE for n in range(10)}
    time.wait(600)
    (result,) = refresh_all(
        load.feed, [instrument(engine)], SLOT + 10 * MINUTE, lambda _: refreshed(load, SLOT + 10 * MINUTE)
    )
    assert result.problem == "the bar of 12:19 UTC is late at binance"


def test_bar_that_is_later_still_is_named_and_comes_in_with_the_next_slot(
    engine: Engine, exchange: Exchange, load: Load, time: ManualTime
) -> None:
    exchange.late[SLOT - MINUTE] = SLOT + 2 * MINUTE
    (result,) = refresh_all(load.feed, [instrument(engine)], SLOT, lambda _: refreshed(load))
    assert result.problem == "the bar of 12:09 UTC is late at binance"
    waited = time.exchange_now() - SLOT - timedelta(seconds=SETTLING)
    assert waited == timedelta(seconds=LATE_SECONDS)
    assert rows(engine, COVERAGE.format(SYMBOL))[-1] == (SLOT - MINUTE, SLOT, "unknown")
    time.wait(600)
    refreshed(load, SLOT + 10 * MINUTE)
    assert rows(engine, STORED.format(SYMBOL)) == source(exchange, SLOT - 9 * MINUTE - DAY, SLOT + 10 * MINUTE)


def test_unreachable_exchange_ends_at_the_deadline_of_the_slot(
    engine: Engine, exchange: Exchange, load: Load, time: ManualTime
) -> None:
    exchange.plan = lambda: "error_500"
    with pytest.raises(ExchangeUnavailable, match="no usable answer"):
        refreshed(load)
    assert time.exchange_now() <= SLOT + timedelta(seconds=DEADLINE_SECONDS)
    exchange.plan = str
    time.wait(1_200)
    refreshed(load, SLOT + 20 * MINUTE)
    assert rows(engine, STORED.format(SYMBOL)) == source(exchange, SLOT - 9 * MINUTE - DAY, SLOT + 20 * MINUTE)


def test_one_symbol_that_fails_does_not_stop_the_others(engine: Engine, load: Load) -> None:
    def work(one: Instrument) -> Loaded:
        if one.symbol == "XYZUSDT":
            raise ExchangeUnavailable("binance answers nothing")
        return refreshed(load)

    other = Instrument("XYZUSDT", "binance", "XYZUSDT")
    results = refresh_all(load.feed, [other, instrument(engine)], SLOT, work)
    assert [(result.symbol, result.problem) for result in results] == [
        ("XYZUSDT", "binance answers nothing"),
        (SYMBOL, ""),
    ]


def test_long_outage_is_filled_newest_first_and_the_rest_by_repair(
    engine: Engine, exchange: Exchange, load: Load, time: ManualTime
) -> None:
    time.wait(5 * DAY.total_seconds())
    slot = SLOT + 5 * DAY
    refreshed(load, slot)
    assert next(int(asked["endTime"]) for asked in klines(exchange)) == milliseconds(slot) - 1
    missing = rows(engine, f"SELECT count(*) FROM bars WHERE time >= '{SLOT}'")[0][0]
    assert missing == 3_000
    plan = plan_repair(engine, load.feed, instrument(engine))
    ends = [page.end for page in plan.pages]
    assert ends == sorted(ends, reverse=True)
    load_history(engine, load.feed, plan, lambda _: None)
    assert rows(engine, STORED.format(SYMBOL)) == source(exchange, SLOT - 9 * MINUTE - DAY, slot)


def covered(engine: Engine, state: str) -> list[tuple[Any, ...]]:
    return rows(engine, f"SELECT from_time, to_time, recheck_at FROM coverage WHERE state = '{state}' ORDER BY 1")


def test_gap_is_asked_about_once_more_a_day_later(
    engine: Engine, exchange: Exchange, load: Load, time: ManualTime
) -> None:
    gap = {SLOT - 30 * MINUTE + n * MINUTE for n in range(10)}
    exchange.markets["XYZUSDT"].missing = set(gap)
    load("XYZUSDT", until=SLOT - 9 * MINUTE)
    one = instrument(engine, "XYZUSDT")
    ((_, _, recheck_at),) = covered(engine, "source_gap")
    assert timedelta(hours=24) < recheck_at - SLOT < timedelta(hours=26)

    def repaired() -> int:
        plan = plan_repair(engine, load.feed, one)
        load_history(engine, load.feed, plan, lambda _: None)
        return sum(page.is_last_time for page in plan.pages)

    assert repaired() == 0, "not yet"
    assert repaired() == 0
    exchange.markets["XYZUSDT"].missing = {min(gap)}
    time.wait(26 * 3_600)
    assert repaired() == 1
    assert covered(engine, "source_gap") == [(min(gap), min(gap) + MINUTE, None)], "the others were mended"
    time.wait(26 * 3_600)
    assert repaired() == 0


def test_delisting_is_noticed_by_repair(engine: Engine, exchange: Exchange, load: Load, time: ManualTime) -> None:
    exchange.markets[SYMBOL].delisted = SLOT + 30 * MINUTE
    time.wait(3 * 3_600)
    plan = plan_repair(engine, load.feed, instrument(engine))
    assert plan.until == SLOT + 30 * MINUTE
    load_history(engine, load.feed, plan, lambda _: None)
    exchange.requests.clear()
    later = SLOT + timedelta(hours=3)
    (result,) = refresh_all(load.feed, [instrument(engine)], later, lambda _: refreshed(load, later))
    assert result.problem == ""
    assert klines(exchange) == [], "it has ended, and nothing is missing"


def test_absurd_price_is_judged_by_stored_neighbours(
    engine: Engine, exchange: Exchange, load: Load, time: ManualTime
) -> None:
    """Four of the five newest minutes had no trades."""
    refreshed(load)
    exchange.markets[SYMBOL].no_trades = {SLOT + n * MINUTE for n in range(9)}
    exchange.revisions[SLOT + 9 * MINUTE] = dict.fromkeys((1, 2, 3, 4), "10000")
    time.wait(600)
    assert refreshed(load, SLOT + 10 * MINUTE).rejected == 1
    (kept,) = rows(engine, "SELECT reason, time FROM bars_set_aside")
    assert "price is more than 10 times off" in kept[0]
    assert kept[1] == SLOT + 9 * MINUTE


def test_level_that_stays_comes_in(engine: Engine, exchange: Exchange, load: Load, time: ManualTime) -> None:
    for minute in range(40):
        exchange.revisions[SLOT + minute * MINUTE] = dict.fromkeys((1, 2, 3, 4), "5")
    for slot in (SLOT + 5 * MINUTE, SLOT + 10 * MINUTE, SLOT + 20 * MINUTE, SLOT + 30 * MINUTE):
        time.wait((slot - time.now()).total_seconds())
        refreshed(load, slot)
    (first,) = rows(engine, f"SELECT min(time) FROM bars WHERE close = 5 AND symbol = '{SYMBOL}'")
    assert first == (SLOT,)
    assert rows(engine, f"SELECT count(*) FROM bars WHERE time >= '{SLOT}'") == [(30,)]
