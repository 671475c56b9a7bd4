"""Runs while markets are closed: nothing is asked, the others are answered, and a replay decides as they do."""

from datetime import UTC, datetime, timedelta

import pandas as pd
import pytest
from sqlalchemy import Engine, text

from flows.add_symbols import add_symbols
from flows.analysis import analysis
from flows.review import review
from hybrid_ml.console.run_tables import show_analysis
from hybrid_ml.schemas.add_symbols_request import AddSymbolsRequest
from hybrid_ml.schemas.requests import AnalysisRequest, ReviewRequest
from hybrid_ml.store.bars import store_bars
from hybrid_ml.store.coverage import Instrument, save_instrument
from tests.exchange_server import Exchange, Market, exchange_server
from tests.flows.running import AS_OF, SURE, analyze, choose_calendar, page, rows, run
from tests.simulated import hand_made_bars

DAY, MINUTE = timedelta(days=1), timedelta(minutes=1)
Times = list[tuple[datetime, datetime]]


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
        choose_calendar(engine, "ABCUSDT", around(now, closes_after=-120, opens_again=700))
        choose_calendar(engine, "NIFTY", around(now, closes_after=-120, opens_again=600))
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
    choose_calendar(trained, "ABC", around(AS_OF, closes_after=300))
    choose_calendar(trained, "SHUT", around(AS_OF, closes_after=-60, opens_again=90))
    choose_calendar(trained, "GONE", around(AS_OF, closes_after=-60))
    state, report = run(analysis, AnalysisRequest(as_of=AS_OF, fast_mode=True))
    assert state.is_failed()
    assert f"GONE: calendar of GONE is known until {AS_OF - 60 * MINUTE:%Y-%m-%d %H:%M} UTC; load more" in state.message
    assert f"SHUT: closed until {opens_at:%Y-%m-%d %H:%M} UTC" in state.message
    assert [answer.symbol for answer in report.analyses] == ["ABC"]
    assert [failure.symbol for failure in report.failures] == ["GONE"]
    assert report.closed == {"SHUT": opens_at}
    assert f"**SHUT**: closed until {opens_at:%Y-%m-%d %H:%M} UTC" in page("analysis")


def test_last_ten_minutes_of_a_session_give_no_alert_and_answers_without_that_gate_stay_readable(
    trained: Engine,
) -> None:
    for number, (closes_after, passes) in enumerate([(10, True), (9, False), (0, False)]):
        as_of = AS_OF + number * 10 * MINUTE
        choose_calendar(trained, "ABC", around(as_of, closes_after=closes_after, opens_again=600))
        answer = analyze(fast_mode=True, **SURE, as_of=as_of)
        verdict = next(gate for gate in answer.gates if gate.gate == "session")
        assert (verdict.value, verdict.bound, verdict.passed) == (closes_after, 10, passes)
        assert ("session" in answer.refused_by) is not passes
        ((stored,),) = rows(trained, "SELECT gates FROM predictions ORDER BY bar_time DESC LIMIT 1")
        assert next(gate for gate in stored if gate["gate"] == "session")["passed"] is passes
    with trained.begin() as connection:
        connection.execute(
            text(
                "UPDATE predictions SET gates = (SELECT jsonb_agg(gate) FROM jsonb_array_elements(gates) AS gate "
                "WHERE gate ->> 'gate' <> 'session')"
            )
        )
    state, report = run(review, ReviewRequest(symbols=["ABC"], as_of=AS_OF + 60 * MINUTE, days=1))
    assert not report.failures
    assert report.overall["answers"] == 3
    assert state.is_completed()


def test_added_symbol_is_loaded_in_its_sessions_only(
    engine: Engine, prefect_api: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The calendar is chosen before there is a bar."""
    now = datetime.now(UTC).replace(second=0, microsecond=0)
    times = [(now - number * DAY - 1_000 * MINUTE, now - number * DAY - 100 * MINUTE) for number in range(12)]
    choose_calendar(engine, "ABCUSDT", [*times, (now + 100 * MINUTE, now + 200 * MINUTE)])
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
