"""Runs of symbols that follow others: which leaders a training chooses, and what an analysis does with them."""

import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pandas as pd
import pytest
from sqlalchemy import Engine, text

from flows.add_symbols import add_symbols
from flows.analysis import analysis
from flows.replay import replay
from flows.weekly_training import weekly_training
from hybrid_ml.config.settings import load_settings
from hybrid_ml.feeds import refresh
from hybrid_ml.pipeline import leader_bars
from hybrid_ml.schemas.add_symbols_request import AddSymbolsRequest
from hybrid_ml.schemas.requests import AnalysisRequest, ReplayRequest, TrainingRequest
from hybrid_ml.store.bars import leader_candidates, store_bars
from hybrid_ml.store.engine import open_engine
from tests.exchange_server import Exchange, Market, exchange_server
from tests.flows.running import AS_OF, page, rows, run
from tests.simulated import bars_until, following_bars

CHAMPIONS = "SELECT symbol, leaders FROM model_versions WHERE status = 'champion' ORDER BY symbol"
BY_HAND = {"disable_sleep_window": True, "fast_mode": True, "as_of": AS_OF}


def store_followers(engine: Engine, count: int) -> None:
    """`count` bars of LEAD, and of two symbols that follow it."""
    lead = bars_until(AS_OF, count)
    store_bars(engine, "LEAD", lead)
    for seed, symbol in enumerate(("FIRST", "SECOND"), start=31):
        store_bars(engine, symbol, following_bars(lead, seed=seed))


def trained(**changes: object) -> dict[str, list[str]]:
    """Train FIRST and SECOND; the leaders of their champions."""
    request = {"symbols": ["FIRST", "SECOND"], "as_of": AS_OF, "limit": 12_000, **changes}
    state, _ = run(weekly_training, TrainingRequest(**request))
    assert state.is_completed(), state.message
    return dict(rows(open_engine(load_settings()), CHAMPIONS))


def test_leader_is_chosen_recorded_used_and_read_once_for_all_its_followers(
    engine: Engine, prefect_api: str, home: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    store_followers(engine, 15_900)
    leaders = trained()
    assert {symbol: names[0] for symbol, names in leaders.items()} == {"FIRST": "LEAD", "SECOND": "LEAD"}
    for path in (home / "models").rglob("model_metadata_*.json"):
        metadata = json.loads(path.read_text())
        assert (metadata["leaders"][0], metadata["flat_share"]) == ("LEAD", 0.10)
    reads: list[str] = []
    unspied = leader_bars.recent_bars

    def spied(connection: object, symbol: str, *rest: object) -> pd.DataFrame:
        reads.append(symbol)
        return unspied(connection, symbol, *rest)

    monkeypatch.setattr(leader_bars, "recent_bars", spied)
    _, whole = run(analysis, AnalysisRequest(symbols=["FIRST", "SECOND"], **BY_HAND))
    assert len(whole.analyses) == 2
    assert sorted(reads) == sorted({name for names in leaders.values() for name in names})
    assert "has no bar in time" not in caplog.text
    with engine.begin() as connection:
        gone = {"since": AS_OF - timedelta(minutes=10)}
        connection.execute(text("DELETE FROM bars WHERE symbol = 'LEAD' AND time > :since"), gone)
    state, late = run(analysis, AnalysisRequest(symbols=["FIRST"], **BY_HAND))
    assert state.is_completed()
    assert "FIRST: its leader LEAD has no bar in time; the answer is made without it" in caplog.text
    assert (whole.analyses[0].absent_leaders, late.analyses[0].absent_leaders) == ([], ["LEAD"])
    assert "its leader LEAD had no bar in time; the answer was made without" in page("analysis-first")
    assert late.analyses[0].bar_time == whole.analyses[0].bar_time
    assert late.analyses[0].probabilities != whole.analyses[0].probabilities


def test_named_leaders_and_none(engine: Engine, prefect_api: str, monkeypatch: pytest.MonkeyPatch) -> None:
    store_followers(engine, 4_500)
    assert trained(leaders="FIRST:SECOND;SECOND:none", limit=3_000) == {"FIRST": ["SECOND"], "SECOND": []}
    monkeypatch.setenv("HYBRID_ML_LEADERS", "none")
    assert trained(limit=2_900) == {"FIRST": ["SECOND"], "SECOND": []}, "the champions stay"
    state, _ = run(
        weekly_training, TrainingRequest(symbols=["FIRST"], as_of=AS_OF, limit=3_000, leaders="FIRST:ABSENT")
    )
    assert state.is_failed()
    refusal = "FIRST: its leader ABSENT has no bars in the database; load some with `hybrid-ml backfill`"
    assert refusal in state.message
    begin = AS_OF - timedelta(days=2)
    state, _ = run(replay, ReplayRequest(symbols=["FIRST"], start=begin, weeks=1, leaders="ABSENT"))
    assert refusal in state.message


def test_candidates_are_other_markets_with_recent_bars(engine: Engine) -> None:
    for number, symbol in enumerate(("FIRST", "SECOND", "LEAD"), start=1):
        bars = bars_until(AS_OF, 400)
        store_bars(engine, symbol, bars.assign(volume=bars["volume"] * number))
    store_bars(engine, "OLD", bars_until(AS_OF - timedelta(days=9), 400))
    store_bars(engine, "SHORT", bars_until(AS_OF, 100))
    store_bars(engine, "DEMO", bars_until(AS_OF, 400))
    with engine.connect() as connection:
        found = leader_candidates(connection, "FIRST", AS_OF, 12)
        assert sorted(found) == ["LEAD", "SECOND"]
        assert leader_candidates(connection, "FIRST", AS_OF, 1) == ["LEAD"], "the one with the largest turnover"


@pytest.fixture
def exchange(engine: Engine, prefect_api: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Exchange]:
    listed = datetime.now(UTC) - timedelta(days=400)
    markets = {name: Market(listed) for name in ("ABCUSDT", "XYZUSDT")}
    with exchange_server(Exchange(lambda: datetime.now(UTC), markets)) as served:
        monkeypatch.setenv("HYBRID_ML_BINANCE_URL", served.url)
        monkeypatch.setenv("HYBRID_ML_SETTLING_SECONDS", "0")
        monkeypatch.setattr(refresh, "LATE_SECONDS", 1.0)
        yield served


def test_leader_outside_of_the_run_is_brought_up_to_date_first(engine: Engine, exchange: Exchange) -> None:
    run(add_symbols, AddSymbolsRequest(symbols=["ABCUSDT", "XYZUSDT"], days=2))
    run(weekly_training, TrainingRequest(symbols=["ABCUSDT"], limit=2_100, leaders="XYZUSDT"))
    followers = "SELECT leaders FROM model_versions WHERE symbol = 'ABCUSDT' AND cardinality(leaders) > 0"
    assert rows(engine, followers) == [(["XYZUSDT"],)]
    with engine.begin() as connection:  # whichever of the two models was better on noise
        connection.execute(text("UPDATE model_versions SET leaders = '{XYZUSDT}' WHERE symbol = 'ABCUSDT'"))
    exchange.requests.clear()
    run(analysis, AnalysisRequest(symbols=["ABCUSDT"], disable_sleep_window=True, fast_mode=True))
    asked = [query["symbol"] for path, query in exchange.requests if "klines" in path]
    assert set(asked) == {"ABCUSDT", "XYZUSDT"}
    exchange.plan = lambda: "legal"
    _, report = run(analysis, AnalysisRequest(symbols=["ABCUSDT"], disable_sleep_window=True, fast_mode=True))
    assert "XYZUSDT" in report.late, "a leader that is refused stops nobody"
    assert len(report.analyses) == 1
