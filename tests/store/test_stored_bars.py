"""Bars in and out of a real PostgreSQL."""

from datetime import UTC, datetime, timedelta

import pandas as pd
import pytest
from sqlalchemy import Engine, text

from hybrid_ml.errors import DataUnavailable
from hybrid_ml.market.bars import clean_bars
from hybrid_ml.market.simulation import simulate_bars
from hybrid_ml.store import bars as stored_bars

UNTIL = datetime(2024, 1, 5, tzinfo=UTC)


@pytest.fixture
def bars() -> pd.DataFrame:
    return clean_bars(simulate_bars(UNTIL, bars=2_000)).bars


def test_bars_come_back_as_they_went_in(engine: Engine, bars: pd.DataFrame) -> None:
    assert stored_bars.store_bars(engine, "ABC", bars) == len(bars)
    with engine.connect() as connection:
        back = stored_bars.recent_bars(connection, "ABC", UNTIL, len(bars) + 5)
    pd.testing.assert_frame_equal(back, bars, check_exact=True)


def test_loading_twice_changes_nothing(engine: Engine, bars: pd.DataFrame) -> None:
    stored_bars.store_bars(engine, "ABC", bars)
    assert stored_bars.store_bars(engine, "ABC", bars) == 0
    with engine.connect() as connection:
        assert connection.execute(text("SELECT count(*) FROM bars")).scalar() == len(bars)


def test_a_corrected_bar_and_new_ones_are_taken_and_counted(engine: Engine, bars: pd.DataFrame) -> None:
    stored_bars.store_bars(engine, "ABC", bars.iloc[:1_500])
    corrected = bars.copy()
    corrected.loc[700, "volume"] += 1
    assert stored_bars.store_bars(engine, "ABC", corrected) == 501
    with engine.connect() as connection:
        back = stored_bars.recent_bars(connection, "ABC", UNTIL, len(bars))
    pd.testing.assert_frame_equal(back, corrected, check_exact=True)


def test_a_large_load_goes_in_by_chunks_and_tells_of_each(
    engine: Engine, bars: pd.DataFrame, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stored_bars, "CHUNK_ROWS", 600)
    heard: list[int] = []
    assert stored_bars.store_bars(engine, "ABC", bars, heard.append) == len(bars)
    assert heard == [600, 600, 600, 200]


def test_only_bars_that_opened_by_the_moment_are_given(engine: Engine, bars: pd.DataFrame) -> None:
    stored_bars.store_bars(engine, "ABC", bars)
    moment = bars["time"].iloc[1_000].to_pydatetime()
    with engine.connect() as connection:
        assert stored_bars.recent_bars(connection, "ABC", moment, 3)["time"].tolist() == bars["time"][998:1001].tolist()
        assert stored_bars.recent_bars(connection, "ABC", UNTIL - timedelta(days=900), 3).empty


@pytest.mark.parametrize("symbol", ["BTC/USD", "<b>&\"'_*[x](y)", "🚀", "'; DROP TABLE bars; --", "ÄÖÜ-ß"])
def test_any_name_may_be_a_symbol(engine: Engine, bars: pd.DataFrame, symbol: str) -> None:
    stored_bars.store_bars(engine, symbol, bars.iloc[:10])
    with engine.connect() as connection:
        assert stored_bars.symbols(connection) == [symbol]
        assert stored_bars.bar_span(connection, symbol).first == bars["time"].iloc[0].to_pydatetime()
        assert len(stored_bars.recent_bars(connection, symbol, UNTIL, 100)) == 10


def test_symbols_are_found_by_hopping(engine: Engine, bars: pd.DataFrame) -> None:
    for symbol in ("B", "A", "C"):
        stored_bars.store_bars(engine, symbol, bars.iloc[:50])
    with engine.connect() as connection:
        assert stored_bars.symbols(connection) == ["A", "B", "C"]


def test_an_unknown_symbol_is_told_which_ones_there_are(engine: Engine, bars: pd.DataFrame) -> None:
    stored_bars.store_bars(engine, "ABC", bars.iloc[:10])
    with engine.connect() as connection, pytest.raises(DataUnavailable, match=r"no bars of XYZ.*ABC.*--symbol XYZ"):
        stored_bars.bar_span(connection, "XYZ")


def test_rows_set_aside_are_kept_with_their_reasons_once(engine: Engine, bars: pd.DataFrame) -> None:
    raw = bars.head(20).copy()
    raw.loc[3, "close"] = -1.0
    raw.loc[7, "high"] = raw.loc[7, "low"] / 2
    cleaned = clean_bars(raw)
    stored_bars.store_set_aside(engine, "ABC", "file.csv", cleaned)
    stored_bars.store_set_aside(engine, "ABC", "file.csv", cleaned)
    with engine.connect() as connection:
        rows = connection.execute(text("SELECT row_number, reason FROM bars_set_aside ORDER BY row_number")).all()
    assert [tuple(row) for row in rows] == [(4, "price is zero or negative"), (8, "high is below low")]
