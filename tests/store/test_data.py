"""How complete bars are, by symbol and day: every minute is counted once, as what is known of it."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import Engine, text

from hybrid_ml.errors import BadInput
from hybrid_ml.schemas.data_report import DataReport, SymbolData
from hybrid_ml.store.bars import store_bars
from hybrid_ml.store.coverage import Instrument, save_instrument
from hybrid_ml.symbols.data import read_data
from tests.exchange_server import Exchange, ManualTime, Market, exchange_server
from tests.flows.running import rows
from tests.simulated import hand_made_bars
from tests.store.test_exchange import Load

NOW = datetime(2024, 3, 5, 12, 0, 40, tzinfo=UTC)
END = NOW.replace(second=0)
TODAY = END.replace(hour=0)
MINUTE, DAY = timedelta(minutes=1), timedelta(days=1)
FED = "ABCUSDT"


@pytest.fixture
def time() -> ManualTime:
    return ManualTime(NOW)


@pytest.fixture
def exchange(time: ManualTime) -> Iterator[Exchange]:
    markets = {name: Market(listed=END - 400 * DAY) for name in (FED, "XYZUSDT")}
    with exchange_server(Exchange(time.exchange_now, markets)) as served:
        yield served


@pytest.fixture
def load(engine: Engine, exchange: Exchange, time: ManualTime) -> Load:
    return Load(engine, exchange, time)


def read(engine: Engine, *symbols: str, days: int = 3, now: datetime = NOW) -> DataReport:
    with engine.connect() as connection:
        return read_data(connection, list(symbols), days, now)


def minutes(data: SymbolData) -> list[tuple[int, int, int, int, int]]:
    """Of each day: expected, with a bar, without trades, missing at the source, not asked."""
    return [(day.expected, day.bars, day.no_trades, day.source_gap, day.not_asked) for day in data.days]


def test_minutes_of_a_feed_are_counted_by_what_it_said(engine: Engine, exchange: Exchange, load: Load) -> None:
    exchange.markets[FED].no_trades = {TODAY - DAY + n * MINUTE for n in range(10, 20)}
    exchange.markets[FED].missing = {TODAY - 30 * MINUTE + n * MINUTE for n in range(60)}
    load(FED, days=2)
    (data,) = read(engine, days=4).symbols
    assert [day.day for day in data.days] == [(TODAY - n * DAY).date() for n in (3, 2, 1, 0)]
    assert minutes(data) == [
        (0, 0, 0, 0, 0),
        (720, 720, 0, 0, 0),
        (1_440, 1_400, 10, 30, 0),
        (720, 690, 0, 30, 0),
    ]
    assert [day.share for day in data.days] == [None, 1.0, 1_400 / 1_430, 690 / 720]
    assert data.share == pytest.approx(2_810 / 2_870)
    assert [day.day for day in data.worst_days(3)] == [TODAY.date(), (TODAY - DAY).date()]


def test_minutes_that_nobody_asked_about_are_counted(engine: Engine, load: Load, time: ManualTime) -> None:
    load(FED)
    time.wait(2 * 3_600)
    (data,) = read(engine, now=time.now()).symbols
    assert minutes(data)[-1] == (840, 720, 0, 0, 120)
    assert rows(engine, "SELECT count(*) FROM bars") == [(1_440,)]


def test_minutes_after_the_newest_slot_are_not_expected(engine: Engine, load: Load, time: ManualTime) -> None:
    load(FED)
    time.wait(9 * 60)
    (data,) = read(engine, now=time.now()).symbols
    assert minutes(data)[-1] == (720, 720, 0, 0, 0)
    time.wait(60)
    (data,) = read(engine, now=time.now()).symbols
    assert minutes(data)[-1] == (730, 720, 0, 0, 10)


def test_days_before_the_first_answer_and_after_the_delisting_are_not_expected(
    engine: Engine, exchange: Exchange, load: Load
) -> None:
    exchange.markets[FED].delisted = TODAY - DAY + 60 * MINUTE
    load(FED, days=2)
    (data,) = read(engine, FED, days=4).symbols
    assert minutes(data) == [(0, 0, 0, 0, 0), (720, 720, 0, 0, 0), (60, 60, 0, 0, 0), (0, 0, 0, 0, 0)]
    assert data.share == 1


def test_bars_of_files_are_compared_with_their_fullest_day(engine: Engine) -> None:
    for day, count in ((3, 375), (2, 300), (0, 100)):
        store_bars(engine, "INDEX", hand_made_bars([5.0] * count, start=TODAY - day * DAY + 225 * MINUTE))
    (data,) = read(engine, days=5).symbols
    assert data.feed is None
    assert minutes(data) == [
        (0, 0, 0, 0, 0),
        (375, 375, 0, 0, 0),
        (375, 300, 0, 0, 0),
        (375, 0, 0, 0, 0),
        (375, 100, 0, 0, 0),
    ]
    assert [day.day for day in data.worst_days(2)] == [(TODAY - DAY).date(), TODAY.date()]


def test_market_with_sessions_is_expected_to_have_bars_in_them_only(engine: Engine) -> None:
    opened = TODAY - DAY + 225 * MINUTE
    store_bars(engine, "INDEX", hand_made_bars([5.0] * 300, start=opened))
    store_bars(engine, "INDEX", hand_made_bars([5.0] * 100, start=opened + 400 * MINUTE))  # after the close
    with engine.begin() as connection:
        save_instrument(connection, Instrument("INDEX", "table", "index", calendar="XNSE"))
        save_instrument(connection, Instrument("CLOSED", "table", "closed", calendar="NONE"))
        values = {"opens": opened, "closes": opened + 375 * MINUTE, "past": TODAY - 90 * DAY}
        connection.execute(
            text(
                "INSERT INTO sessions (calendar, day, opens_at, closes_at, origin) "
                "VALUES ('XNSE', date(:opens), :opens, :closes, 'library'), "
                "('NONE', date(:past), :past, :past + interval '1 hour', 'own')"
            ),
            values,
        )
        connection.execute(
            text(
                "INSERT INTO coverage VALUES ('INDEX', :past, :opens, 'source_gap'), ('CLOSED', :past, :opens, 'have')"
            ),
            values,
        )
    closed, index = read(engine).symbols
    assert [expected for expected, *_ in minutes(index)] == [0, 375, 0]
    assert minutes(index)[1][1] == 300
    assert [day.share for day in index.days] == [None, 0.8, None]
    assert closed.share is None


def test_revisions_and_rejected_rows_of_the_period_are_counted(engine: Engine) -> None:
    bars = hand_made_bars([5.0] * 50, start=TODAY)
    store_bars(engine, "ABC", bars)
    store_bars(engine, "ABC", bars.assign(close=5.5, high=5.5).iloc[:7])
    with engine.begin() as connection:
        statement = "INSERT INTO bars_set_aside VALUES ('ABC', 'a.csv', 1, 'no bar', :raw, :at, :time)"
        for raw, loaded_at, at in (("x", TODAY, None), ("y", TODAY, TODAY - 90 * DAY), ("z", NOW - 90 * DAY, TODAY)):
            connection.execute(text(statement), {"raw": raw, "at": loaded_at, "time": at})
    (data,) = read(engine).symbols
    assert (data.revisions, data.rejected_rows) == (7, 2)
    (before,) = read(engine, now=TODAY - MINUTE).symbols
    assert (before.revisions, before.rejected_rows) == (0, 0)


def test_symbol_that_has_ended_is_left_out_unless_it_is_named(engine: Engine) -> None:
    store_bars(engine, "NEW", hand_made_bars([5.0] * 50, start=TODAY))
    store_bars(engine, "OLD", hand_made_bars([5.0] * 50, start=TODAY - 40 * DAY))
    report = read(engine)
    assert [data.symbol for data in report.symbols] == ["NEW"]
    assert report.ended == {"OLD": TODAY - 40 * DAY + 49 * MINUTE}
    named = read(engine, "OLD")
    assert ([data.symbol for data in named.symbols], named.ended) == (["OLD"], {})
    assert named.symbols[0].share is None
    with pytest.raises(BadInput, match=r"--symbols NEWW: no such symbol in the database; did you mean NEW\?"):
        read(engine, "NEWW")


def test_nothing_is_reported_of_an_empty_database(engine: Engine) -> None:
    report = read(engine)
    assert (report.symbols, report.ended) == ([], {})


@pytest.mark.parametrize(("now", "days"), [(TODAY, 2), (TODAY + 9 * MINUTE, 2), (TODAY + 10 * MINUTE, 3)])
def test_day_that_has_not_begun_is_not_shown(engine: Engine, now: datetime, days: int) -> None:
    store_bars(engine, "ABC", hand_made_bars([5.0] * 50, start=TODAY - DAY))
    (data,) = read(engine, now=now).symbols
    assert len(data.days) == days
