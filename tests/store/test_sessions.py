"""The table of sessions: own days win, overlaps are refused; only open minutes are asked for; outcomes equal labels."""

from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta

import pandas as pd
import pytest
from sqlalchemy import Engine, text

from hybrid_ml.config.settings import load_settings
from hybrid_ml.diagnostics.checks import _freshness
from hybrid_ml.errors import BadInput, CalendarEnded
from hybrid_ml.feeds.history import load_history, plan_history, plan_repair
from hybrid_ml.feeds.refresh import refresh_bars
from hybrid_ml.health.checks import check_database
from hybrid_ml.market.bars import to_grid
from hybrid_ml.market.labels import CLASSES, forward_returns, label
from hybrid_ml.store import bot_queries, predictions
from hybrid_ml.store.bars import store_bars
from hybrid_ml.store.coverage import Instrument, feeds_of, read_instruments, save_instrument
from hybrid_ml.store.sessions import (
    coming_sessions,
    own_days,
    read_calendar,
    read_sessions,
    set_calendar,
    store_library_days,
    store_own_days,
    symbols_of,
)
from tests.exchange_server import Exchange, ManualTime, Market, exchange_server
from tests.flows.running import rows
from tests.simulated import bars_with_holes
from tests.store.test_exchange import COVERAGE, STORED, Load, source
from tests.store.test_predictions import prediction

NOON = datetime(2024, 3, 5, 12, tzinfo=UTC)
DAY, MINUTE = timedelta(days=1), timedelta(minutes=1)
SYMBOL = "ABCUSDT"
TABLE = "SELECT day, opens_at, closes_at, origin FROM sessions ORDER BY day, opens_at"


def day_at(number: int) -> date:
    return (NOON + number * DAY).date()


def session(number: int, begin: int = -180, end: int = 120) -> tuple[datetime, datetime]:
    """A session on the day `number` days after NOON, from and until minutes after noon."""
    noon = NOON + number * DAY
    return noon + begin * MINUTE, noon + end * MINUTE


def load_days(engine: Engine, numbers: range, *, own: bool = False, calendar: str = "X") -> None:
    """A session from nine until two on each of the days, as of the library or of a file."""
    days = {day_at(number): [session(number)] for number in numbers}
    with engine.begin() as connection:
        if own:
            store_own_days(connection, calendar, days)
        else:
            store_library_days(connection, calendar, days, min(days), max(days))


def choose(engine: Engine, *symbols: str, calendar: str = "X") -> None:
    with engine.begin() as connection:
        set_calendar(connection, list(symbols), calendar)


def test_own_days_win_however_often_the_library_is_loaded(engine: Engine) -> None:
    load_days(engine, range(4))
    with engine.begin() as connection:
        store_own_days(connection, "X", {day_at(1): [session(1, 0, 60)], day_at(2): [], day_at(5): [session(5)]})
    load_days(engine, range(4))
    with engine.begin() as connection:
        assert own_days(connection, "X") == [day_at(1), day_at(2), day_at(5)]
        sessions = read_calendar(connection, "X")
        assert not sessions.is_open(NOON + 2 * DAY)
        assert sessions.closed_until(NOON + 2 * DAY) == session(3)[0]
        stated = coming_sessions(connection, "X", NOON + DAY, 3)
    assert [(one.day, one.opens_at, one.origin) for one in stated] == [
        (day_at(1), session(1, 0)[0], "own"),
        (day_at(3), session(3)[0], "library"),
        (day_at(5), session(5)[0], "own"),
    ]
    with engine.begin() as connection:
        store_own_days(connection, "X", {day_at(2): [session(2, 10, 20)]})
    assert len(rows(engine, TABLE)) == 5
    assert not read_is_closed(engine, NOON + 2 * DAY + 15 * MINUTE)


def read_is_closed(engine: Engine, at: datetime) -> bool:
    with engine.connect() as connection:
        return not read_calendar(connection, "X").is_open(at)


def test_library_that_corrects_itself_removes_a_session(engine: Engine) -> None:
    load_days(engine, range(4))
    with engine.begin() as connection:
        store_library_days(connection, "X", {day_at(1): [session(1)]}, day_at(1), day_at(2))
    assert [day for day, *_ in rows(engine, TABLE)] == [day_at(0), day_at(1), day_at(3)]


def test_overlap_changes_nothing(engine: Engine) -> None:
    load_days(engine, range(2))
    before = rows(engine, TABLE)
    with pytest.raises(BadInput, match="overlap"), engine.begin() as connection:
        store_own_days(connection, "X", {day_at(3): [session(0, 60, 200)]})
    assert rows(engine, TABLE) == before


def test_symbol_of_files_gets_a_calendar_and_no_feed(engine: Engine) -> None:
    load_days(engine, range(4))
    choose(engine, "NIFTY", "OTHER")
    with engine.begin() as connection:
        assert read_instruments(connection, ["NIFTY"]) == []
        assert feeds_of(connection) == {}
        assert symbols_of(connection, "X") == ["NIFTY", "OTHER"]
        assert list(read_sessions(connection, ["NIFTY", "ABC"])) == ["NIFTY"]
        saved = save_instrument(connection, Instrument("NIFTY", "binance", "NIFTY"))
        assert saved.calendar == "X", "a feed does not change what a person chose"
        assert feeds_of(connection) == {"NIFTY": "binance"}
        set_calendar(connection, ["OTHER"], "24/7")
        assert list(read_sessions(connection, ["NIFTY", "OTHER"])) == ["NIFTY"]


def test_calendar_without_sessions_cannot_be_chosen(engine: Engine) -> None:
    load_days(engine, range(1))
    with pytest.raises(BadInput, match=r"--calendar Y has no sessions \(there are those of: 24/7, X\)"):
        choose(engine, "NIFTY", calendar="Y")


@pytest.mark.parametrize("max_gap_minutes", [3, 30])
def test_outcomes_equal_labels_with_sessions(engine: Engine, max_gap_minutes: int) -> None:
    """Sessions with a break of twenty minutes, which no gap rule of thirty would see, and bars in the break."""
    bars = bars_with_holes(3_000, {400: 3, 700: 12, 1_390: 40, 2_000: 5, 2_120: 5}, seed=3)
    first = bars["time"].iloc[0].to_pydatetime()
    spans = [(0, 600), (620, 1_400), (1_420, 1_500), (1_500, 2_050), (2_070, 2_125), (2_145, 2_900), (3_000, 3_100)]
    times = [(first + begin * MINUTE, first + end * MINUTE) for begin, end in spans]
    with engine.begin() as connection:
        store_own_days(connection, "X", {first.date(): times})
        set_calendar(connection, ["ABC"], "X")
        sessions = read_calendar(connection, "X")
    store_bars(engine, "ABC", bars)
    grid = to_grid(bars, max_gap_minutes, sessions)
    returns = forward_returns(grid)
    recorded = grid.index[~grid["carried"].to_numpy()][::3]
    labels = dict(zip(grid.index, label(returns, 0.001), strict=True))
    with engine.begin() as connection:
        for time in recorded:
            close = float(grid["close"].loc[time])
            predictions.record(connection, prediction(time.to_pydatetime(), symbol="ABC", close=close))
        predictions.resolve(connection, first + 3_200 * MINUTE, max_gap_minutes)
    found = rows(engine, "SELECT bar_time, outcome, void_reason FROM predictions ORDER BY bar_time")
    assert [(pd.Timestamp(bar_time), outcome) for bar_time, outcome, _ in found] == [
        (time, CLASSES[labels[time]] if labels[time] >= 0 else None) for time in recorded
    ]
    reasons = {(reason or "").partition(" between")[0].partition(" at ")[0] for *_, reason in found}
    assert {"the session ended", "no bar"} <= reasons


# What is asked of a feed


@pytest.fixture
def time() -> ManualTime:
    return ManualTime(NOON + 40 * timedelta(seconds=1))


@pytest.fixture
def exchange(time: ManualTime) -> Iterator[Exchange]:
    with exchange_server(Exchange(time.exchange_now, {SYMBOL: Market(listed=NOON - 400 * DAY)})) as served:
        yield served


def asked(exchange: Exchange) -> list[tuple[datetime, datetime]]:
    """The ranges that were asked for, in order of time."""
    times = [
        tuple(datetime.fromtimestamp(-(-int(request[name]) // 60_000) * 60, UTC) for name in ("startTime", "endTime"))
        for path, request in exchange.requests
        if path.endswith("klines") and "endTime" in request
    ]
    return sorted(times)  # type: ignore[arg-type]


def test_only_open_minutes_are_asked_for_and_covered(engine: Engine, exchange: Exchange, time: ManualTime) -> None:
    load_days(engine, range(-10, 3))
    choose(engine, SYMBOL)
    load = Load(engine, exchange, time)
    plan = plan_history(engine, load.feed, SYMBOL, 3, None)
    load_history(engine, load.feed, plan, load.minutes.append)
    expected = [*(session(number) for number in (-3, -2, -1)), (session(0)[0], NOON)]
    expected[0] = (NOON - 3 * DAY, expected[0][1])
    assert asked(exchange) == expected
    assert plan.closed_minutes == 3 * 1440 - plan.missing_minutes
    assert rows(engine, COVERAGE.format(SYMBOL)) == [(begin, end, "have") for begin, end in expected]
    assert rows(engine, STORED.format(SYMBOL)) == [row for span in expected for row in source(exchange, *span)]
    exchange.requests.clear()
    time.wait(45 * 3_600)  # noon + 45 hours: nine o'clock two days later
    instrument = read_instrument(engine)
    plan = plan_repair(engine, load.feed, instrument)
    load_history(engine, load.feed, plan, load.minutes.append)
    assert asked(exchange) == [(NOON, session(0)[1]), session(1)]
    exchange.requests.clear()
    assert plan_repair(engine, load.feed, instrument).pages == []
    assert [path for path, _ in exchange.requests if "exchangeInfo" in path] == [], "a closed market is not silent"


def read_instrument(engine: Engine) -> Instrument:
    with engine.connect() as connection:
        return read_instruments(connection, [SYMBOL])[0]


def test_refresh_asks_across_no_closed_minute(engine: Engine, exchange: Exchange, time: ManualTime) -> None:
    with engine.begin() as connection:
        lunch = [session(0, -180, -20), session(0, 0, 120)]
        store_own_days(connection, "X", {day_at(-1): [session(-1)], day_at(0): lunch})
        set_calendar(connection, [SYMBOL], "X")
        sessions = read_calendar(connection, "X")
    load = Load(engine, exchange, time)
    load(days=1, until=NOON - 30 * MINUTE)
    exchange.requests.clear()
    time.wait(180)
    refresh_bars(engine, load.feed, read_instrument(engine), NOON + 3 * MINUTE, time.wait, sessions)
    assert asked(exchange) == [(NOON - 30 * MINUTE, NOON - 20 * MINUTE), (NOON, NOON + 3 * MINUTE)]


def test_calendar_that_has_ended_is_an_error_for_repair_and_history(
    engine: Engine, exchange: Exchange, time: ManualTime
) -> None:
    load_days(engine, range(-10, 0))
    choose(engine, SYMBOL)
    load = Load(engine, exchange, time)
    load(days=2, until=session(-1)[1])
    for plan in (
        lambda: plan_repair(engine, load.feed, read_instrument(engine)),
        lambda: plan_history(engine, load.feed, SYMBOL, 3, None),
    ):
        with pytest.raises(CalendarEnded, match=r"calendar X is known until 2024-03-04 14:00 UTC; load more"):
            plan()


# What is called late


@pytest.fixture
def closed(engine: Engine) -> Engine:
    """A symbol with bars until the end of the session at NOON, whose market opens next a day later."""
    load_days(engine, range(-10, 20))
    choose(engine, "ABC")
    opens_at, closes_at = session(0)
    times = pd.date_range(opens_at, closes_at - MINUTE, freq="min", unit="us")
    frame = pd.DataFrame({"time": times, "open": 1.0, "high": 1.0, "low": 1.0, "close": 1.0, "volume": 1.0})
    store_bars(engine, "ABC", frame)
    return engine


@pytest.mark.parametrize(
    ("after_close", "is_late"),
    [
        (60, None),  # closed: nothing changes
        (19 * 60 + 5, None),  # open for five minutes
        (19 * 60 + 29, None),
        (19 * 60 + 31, True),
    ],
)
def test_closed_market_is_not_late(closed: Engine, after_close: int, is_late: bool | None) -> None:
    settings = load_settings().model_copy(update={"hybrid_ml_stale_bars_minutes": 30})
    problems = check_database(closed, settings, session(0)[1] + after_close * MINUTE)
    problem = problems.get("bars of ABC")
    assert (problem is not None) is bool(is_late)
    assert problems["calendar of ABC"] is None


def test_end_of_a_calendar_is_reported_a_week_before(closed: Engine) -> None:
    problem = check_database(closed, load_settings(), session(19)[1] - 6 * DAY)["calendar of ABC"]
    assert problem is not None
    assert problem.text == "ABC: calendar X is known until 2024-03-24 14:00 UTC; it is not answered after that"
    assert problem.remedy.startswith("load more with `hybrid-ml sessions load --calendar X`")
    assert problem.is_ahead


def test_status_and_check_say_until_when(closed: Engine) -> None:
    now = session(0)[1] + 60 * MINUTE
    with closed.connect() as connection:
        (status,) = bot_queries.status(connection, ["ABC"], "", [], now).symbols
        assert status.closed_until == session(1)[0]
        (status,) = bot_queries.status(connection, ["ABC"], "", [], session(1)[0] + 7 * MINUTE).symbols
        assert (status.closed_until, status.open_minutes) == (None, 7)
        (status,) = bot_queries.status(connection, ["ABC"], "", [], session(20)[0]).symbols
        assert "calendar X is known until" in status.calendar_problem
    finding = _freshness(load_settings())
    assert (finding.state, "ABC: calendar X is known until 2024-03-24 14:00 UTC" in finding.text) == ("failed", True)
    tomorrow = datetime.now(UTC).replace(second=0, microsecond=0) + DAY
    with closed.begin() as connection:
        connection.execute(text("DELETE FROM sessions"))
        times = [(moment, moment + MINUTE) for moment in (tomorrow - 2 * DAY, tomorrow)]
        store_own_days(connection, "X", {tomorrow.date(): times})
    finding = _freshness(load_settings())
    assert finding.state == "fine"
    assert f"closed until {tomorrow:%Y-%m-%d %H:%M} UTC" in finding.text
