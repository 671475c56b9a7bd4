"""Runs while markets are closed: nothing is asked, the others are answered, and a replay decides as they do."""

from datetime import UTC, datetime, timedelta

import pandas as pd
import pytest
from sqlalchemy import Engine, text

from flows.add_symbols import add_symbols
from flows.analysis import analysis
from flows.weekly_training import weekly_training
from hybrid_ml.config.settings import load_settings
from hybrid_ml.console.run_tables import show_analysis
from hybrid_ml.learning.scaling import row_limit
from hybrid_ml.market.bars import MAX_GAP_MINUTES, clean_bars
from hybrid_ml.market.simulation import simulate_bars
from hybrid_ml.replay.engine import ReplayedService, train
from hybrid_ml.replay.history import Past
from hybrid_ml.schemas.add_symbols_request import AddSymbolsRequest
from hybrid_ml.schemas.requests import AnalysisRequest, TrainingRequest
from hybrid_ml.store.bars import store_bars
from hybrid_ml.store.coverage import Instrument, save_instrument
from hybrid_ml.store.sessions import read_calendar, set_calendar, store_own_days
from tests.exchange_server import Exchange, Market, exchange_server
from tests.flows.running import AS_OF, SURE, analyze, page, rows, run
from tests.simulated import hand_made_bars

DAY, MINUTE = timedelta(days=1), timedelta(minutes=1)
Times = list[tuple[datetime, datetime]]


def choose(engine: Engine, symbol: str, times: Times) -> None:
    """Give `symbol` a calendar of its own with these sessions."""
    calendar = f"of {symbol}"
    with engine.begin() as connection:
        store_own_days(connection, calendar, {times[0][0].date(): times})
        set_calendar(connection, [symbol], calendar)


def around(moment: datetime, *, closes_after: float, opens_again: float | None = None) -> Times:
    """A session from a week before until so many minutes after `moment`, and perhaps another, in the same unit."""
    times = [(moment - 7 * DAY, moment + closes_after * MINUTE)]
    return (
        times
        if opens_again is None
        else [*times, (moment + opens_again * MINUTE, moment + (opens_again + 60) * MINUTE)]
    )


def test_closed_market_is_not_asked_and_the_run_says_until_when(
    engine: Engine, prefect_api: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    now = datetime.now(UTC).replace(second=0, microsecond=0)
    with exchange_server(Exchange(lambda: datetime.now(UTC), {"ABCUSDT": Market(now - 400 * DAY)})) as exchange:
        monkeypatch.setenv("HYBRID_ML_BINANCE_URL", exchange.url)
        store_bars(engine, "ABCUSDT", hand_made_bars([1.0] * 60, start=now - 180 * MINUTE))
        with engine.begin() as connection:
            save_instrument(connection, Instrument("ABCUSDT", "binance", "ABCUSDT", now - 400 * DAY))
        store_bars(engine, "NIFTY", hand_made_bars([1.0] * 60, start=now - 180 * MINUTE))
        choose(engine, "ABCUSDT", around(now, closes_after=-120, opens_again=700))
        choose(engine, "NIFTY", around(now, closes_after=-120, opens_again=600))
        state, report = run(analysis, AnalysisRequest(disable_sleep_window=True))
        assert exchange.requests == []
    first, second = now + 600 * MINUTE, now + 700 * MINUTE
    assert (state.name, state.is_completed()) == ("Closed", True)
    assert state.message == f"no market is open: all closed until {first:%Y-%m-%d %H:%M} UTC"
    assert report.closed == {"ABCUSDT": second, "NIFTY": first}
    assert (report.failures, report.late, report.analyses) == ([], {}, [])
    show_analysis(report)
    assert f"NIFTY: closed until {first:%Y-%m-%d %H:%M} UTC" in capsys.readouterr().out


def test_closed_and_ended_calendars_do_not_stop_the_others(trained: Engine, bars: pd.DataFrame) -> None:
    for symbol in ("SHUT", "GONE"):
        store_bars(trained, symbol, bars.tail(100))
    opens_at = AS_OF + 90 * MINUTE
    choose(trained, "ABC", around(AS_OF, closes_after=300))
    choose(trained, "SHUT", around(AS_OF, closes_after=-60, opens_again=90))
    choose(trained, "GONE", around(AS_OF, closes_after=-60))
    state, report = run(analysis, AnalysisRequest(as_of=AS_OF, fast_mode=True))
    assert state.is_failed()
    assert f"GONE: calendar of GONE is known until {AS_OF - 60 * MINUTE:%Y-%m-%d %H:%M} UTC; load more" in state.message
    assert f"SHUT: closed until {opens_at:%Y-%m-%d %H:%M} UTC" in state.message
    assert [answer.symbol for answer in report.analyses] == ["ABC"]
    assert [failure.symbol for failure in report.failures] == ["GONE"]
    assert report.closed == {"SHUT": opens_at}
    assert f"**SHUT**: closed until {opens_at:%Y-%m-%d %H:%M} UTC" in page("analysis")


@pytest.mark.parametrize(("closes_after", "passes"), [(10, True), (9, False), (0, False)])
def test_last_ten_minutes_of_a_session_give_no_alert(trained: Engine, closes_after: int, passes: bool) -> None:
    choose(trained, "ABC", around(AS_OF, closes_after=closes_after, opens_again=600))
    answer = analyze(fast_mode=True, **SURE)
    verdict = next(gate for gate in answer.gates if gate.gate == "session")
    assert (verdict.value, verdict.bound, verdict.passed) == (closes_after, 10, passes)
    assert ("session" in answer.refused_by) is not passes
    ((stored,),) = rows(trained, "SELECT gates FROM predictions")
    assert next(gate for gate in stored if gate["gate"] == "session")["passed"] is passes


def test_ledger_without_that_gate_stays_readable(trained: Engine) -> None:
    analyze(fast_mode=True)
    with trained.begin() as connection:
        connection.execute(
            text(
                "UPDATE predictions SET gates = (SELECT jsonb_agg(gate) FROM jsonb_array_elements(gates) AS gate "
                "WHERE gate ->> 'gate' <> 'session')"
            )
        )
    from flows.review import review
    from hybrid_ml.schemas.requests import ReviewRequest

    state, report = run(review, ReviewRequest(symbols=["ABC"], as_of=AS_OF + 60 * MINUTE, days=1))
    assert not report.failures
    assert state.is_completed()


def test_added_symbol_is_loaded_in_its_sessions_only(
    engine: Engine, prefect_api: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The calendar is chosen before there is a bar."""
    now = datetime.now(UTC).replace(second=0, microsecond=0)
    times = [(now - number * DAY - 1_000 * MINUTE, now - number * DAY - 100 * MINUTE) for number in range(12)]
    choose(engine, "ABCUSDT", [*times, (now + 100 * MINUTE, now + 200 * MINUTE)])
    with exchange_server(Exchange(lambda: datetime.now(UTC), {"ABCUSDT": Market(now - 400 * DAY)})) as exchange:
        monkeypatch.setenv("HYBRID_ML_BINANCE_URL", exchange.url)
        monkeypatch.setenv("HYBRID_ML_SETTLING_SECONDS", "0")
        state, report = run(add_symbols, AddSymbolsRequest(symbols=["ABCUSDT"], days=10))
    assert state.is_completed()
    assert report.closed == {"ABCUSDT": now + 100 * MINUTE}
    assert report.trainings[0].promoted
    assert report.histories[0].closed_minutes > 5_000
    outside = rows(
        engine,
        "SELECT count(*) FROM bars WHERE NOT EXISTS "
        "(SELECT FROM sessions WHERE bars.time >= opens_at AND bars.time < closes_at)",
    )
    assert outside == [(0,)]
    assert rows(engine, "SELECT count(*) FROM bars")[0][0] > 8_000


MONDAY = datetime(2024, 2, 5, tzinfo=UTC)
MORNING, AFTERNOON = (0, 700), (720, 1_200)
"""Sessions of each day in minutes, with a break that is shorter than the longest gap that is filled."""


def test_replayed_answers_equal_live_answers_with_a_calendar(engine: Engine, prefect_api: str) -> None:
    bars = clean_bars(simulate_bars(MONDAY + 1_300 * MINUTE, bars=8_000)).bars
    store_bars(engine, "ABC", bars)
    days = [MONDAY + number * DAY for number in range(-6, 3)]
    choose(engine, "ABC", [(day + a * MINUTE, day + b * MINUTE) for day in days for a, b in (MORNING, AFTERNOON)])
    with engine.connect() as connection:
        past = Past(bars, MAX_GAP_MINUTES, read_calendar(connection, "of ABC"))
    options = {**SURE, "symbols": ["ABC"], "disable_sleep_window": True}
    first, threads = MONDAY + 640 * MINUTE, load_settings().training_threads

    def scaling(now: datetime) -> tuple[int, int]:
        return 0, row_limit(0)

    service = ReplayedService("ABC", AnalysisRequest(**options), scaling, threads)
    _, report = run(weekly_training, TrainingRequest(symbols=["ABC"], as_of=first, progressive=True))
    trained = train(past, "ABC", "base", first, *scaling(first), threads)
    service.weekly(trained)
    assert trained.model.base.version == report.trainings[0].version
    closed, refused = 0, list[str]()
    for minutes in [*range(640, 800, 10), *range(1_170, 1_230, 10)]:
        now = MONDAY + minutes * MINUTE
        state, report = run(analysis, AnalysisRequest(**options, as_of=now))
        row = service.cycle(past, now)
        if row is None:
            assert state.name == "Closed" or "freshness" in report.analyses[0].refused_by
            closed += state.name == "Closed"
            continue
        live = report.analyses[0]
        probabilities = {name: row[f"p_{name}"] for name in ("down", "flat", "up")}
        assert probabilities == pytest.approx(live.probabilities, abs=1e-9)
        assert (row["bar_time"], row["signal"], row["refused_by"]) == (
            live.bar_time,
            live.signal,
            ",".join(live.refused_by),
        )
        assert row["model_version"] == live.model.version
        refused += [f"{now:%H:%M}"] if "session" in live.refused_by else []
    assert closed == 4, "two slots in the break, two in the evening"
    assert refused == ["11:40", "20:00"]
    run(analysis, AnalysisRequest(**options, as_of=MONDAY + 1_300 * MINUTE))
    voids = rows(engine, "SELECT bar_time, void_reason FROM predictions WHERE void_reason IS NOT NULL ORDER BY 1")
    assert [(f"{bar_time.astimezone(UTC):%H:%M}", reason) for bar_time, reason in voids] == [
        ("11:39", "the session ended at 2024-02-05 11:40 UTC, within the ten minutes"),
        ("19:59", "the session ended at 2024-02-05 20:00 UTC, within the ten minutes"),
    ]
