"""Bars stored in and read from a real PostgreSQL."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pandas as pd
import pytest
from sqlalchemy import Engine, event, text

from hybrid_ml.errors import DataUnavailable
from hybrid_ml.market.bars import ABSURD_PRICE, PRICE_COLUMNS, clean_bars
from hybrid_ml.market.file_limits import FileLimits
from hybrid_ml.market.simulation import simulate_bars
from hybrid_ml.market.sources import load_rows
from hybrid_ml.store import bars as stored_bars
from hybrid_ml.store.coverage import Instrument, save_instrument
from hybrid_ml.store.loading import Loaded, load_bars
from tests.flows.running import rows

UNTIL = datetime(2024, 1, 5, tzinfo=UTC)


@pytest.fixture
def bars() -> pd.DataFrame:
    return clean_bars(simulate_bars(UNTIL, bars=2_000)).bars


def test_stored_bars_are_read_unchanged(engine: Engine, bars: pd.DataFrame) -> None:
    assert stored_bars.store_bars(engine, "ABC", bars) == (len(bars), 0)
    with engine.connect() as connection:
        stored = stored_bars.recent_bars(connection, "ABC", UNTIL, len(bars) + 5)
    pd.testing.assert_frame_equal(stored, bars, check_exact=True)


def test_loading_bars_twice_changes_nothing(engine: Engine, bars: pd.DataFrame) -> None:
    stored_bars.store_bars(engine, "ABC", bars)
    assert stored_bars.store_bars(engine, "ABC", bars) == (0, 0)
    with engine.connect() as connection:
        assert connection.execute(text("SELECT count(*) FROM bars")).scalar() == len(bars)


def test_corrected_and_new_bars_are_stored_and_counted(engine: Engine, bars: pd.DataFrame) -> None:
    stored_bars.store_bars(engine, "ABC", bars.iloc[:1_500])
    corrected = bars.copy()
    corrected.loc[700, "volume"] += 1
    assert stored_bars.store_bars(engine, "ABC", corrected) == (500, 1)
    with engine.connect() as connection:
        stored = stored_bars.recent_bars(connection, "ABC", UNTIL, len(bars))
    pd.testing.assert_frame_equal(stored, corrected, check_exact=True)


FEED_VALUES = "SELECT quote_volume, trades, taker_buy_volume FROM bars ORDER BY time"


def test_what_a_feed_states_beside_prices_is_kept_until_prices_change(engine: Engine, bars: pd.DataFrame) -> None:
    few = bars.iloc[:3]
    of_feed = few.assign(quote_volume=[1.5, 2.5, 3.5], trades=[4, 5, 6], taker_buy_volume=[0.0, 0.5, 1.0])
    stored_bars.store_bars(engine, "ABC", few)
    assert rows(engine, FEED_VALUES) == [(None, None, None)] * 3
    assert stored_bars.store_bars(engine, "ABC", of_feed) == (0, 3)
    stated = [(1.5, 4, 0.0), (2.5, 5, 0.5), (3.5, 6, 1.0)]
    assert rows(engine, FEED_VALUES) == stated
    assert stored_bars.store_bars(engine, "ABC", of_feed) == (0, 0)
    assert stored_bars.store_bars(engine, "ABC", few) == (0, 0)
    assert rows(engine, FEED_VALUES) == stated
    corrected = few.assign(volume=few["volume"] + [0.0, 1.0, 0.0])
    assert stored_bars.store_bars(engine, "ABC", corrected) == (0, 1)
    assert rows(engine, FEED_VALUES) == [stated[0], (None, None, None), stated[2]]


def test_column_of_a_feed_with_missing_values_is_refused(engine: Engine, bars: pd.DataFrame) -> None:
    with pytest.raises(ValueError, match="quote_volume of ABC: NaN"):
        stored_bars.store_bars(engine, "ABC", bars.iloc[:2].assign(quote_volume=[1.0, float("nan")]))


def test_large_load_is_stored_in_chunks_with_progress(
    engine: Engine, bars: pd.DataFrame, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stored_bars, "CHUNK_ROWS", 600)
    counts: list[int] = []
    assert stored_bars.store_bars(engine, "ABC", bars, counts.append) == (len(bars), 0)
    assert counts == [600, 600, 600, 200]


def test_only_bars_opened_until_the_given_time_are_read(engine: Engine, bars: pd.DataFrame) -> None:
    stored_bars.store_bars(engine, "ABC", bars)
    moment = bars["time"].iloc[1_000].to_pydatetime()
    with engine.connect() as connection:
        assert stored_bars.recent_bars(connection, "ABC", moment, 3)["time"].tolist() == bars["time"][998:1001].tolist()
        assert stored_bars.recent_bars(connection, "ABC", UNTIL - timedelta(days=900), 3).empty


@pytest.mark.parametrize("symbol", ["BTC/USD", "<b>&\"'_*[x](y)", "🚀", "'; DROP TABLE bars; --", "ÄÖÜ-ß"])
def test_symbol_may_have_any_characters(engine: Engine, bars: pd.DataFrame, symbol: str) -> None:
    stored_bars.store_bars(engine, symbol, bars.iloc[:10])
    with engine.connect() as connection:
        assert stored_bars.symbols(connection) == [symbol]
        assert stored_bars.bar_span(connection, symbol).first == bars["time"].iloc[0].to_pydatetime()
        assert len(stored_bars.recent_bars(connection, symbol, UNTIL, 100)) == 10


def test_symbols_are_listed_in_order(engine: Engine, bars: pd.DataFrame) -> None:
    for symbol in ("B", "A", "C"):
        stored_bars.store_bars(engine, symbol, bars.iloc[:50])
    with engine.connect() as connection:
        assert stored_bars.symbols(connection) == ["A", "B", "C"]


def test_newest_bars_are_those_of_symbols_without_a_live_feed(engine: Engine, bars: pd.DataFrame) -> None:
    for count, symbol in enumerate(("A", "B", "C"), start=10):
        stored_bars.store_bars(engine, symbol, bars.iloc[:count])
    with engine.begin() as connection:
        save_instrument(connection, Instrument("A", "binance", "A"))
        save_instrument(connection, Instrument("B", "binance", "B", delisted_at=UNTIL))
        save_instrument(connection, Instrument("D", "binance", "D", delisted_at=UNTIL))
        newest = stored_bars.newest_bars_without_feed(connection)
    assert newest == {"B": bars["time"].iloc[10], "C": bars["time"].iloc[11]}


def test_only_symbols_whose_bars_came_until_now_are_awaited(engine: Engine, bars: pd.DataFrame) -> None:
    at = bars["time"].iloc[-1].to_pydatetime()
    for symbol, missing in (("THERE", 0), ("LATE", 1), ("GAPS", 5), ("FILE", 6)):
        stored_bars.store_bars(engine, symbol, bars.head(len(bars) - missing).tail(60))
    with engine.connect() as connection:
        found = stored_bars.awaited(connection, ["THERE", "LATE", "GAPS", "FILE", "NONE"], at)
    assert found == ["LATE", "GAPS"]


def test_unknown_symbol_error_lists_known_symbols(engine: Engine, bars: pd.DataFrame) -> None:
    stored_bars.store_bars(engine, "ABC", bars.iloc[:10])
    with engine.connect() as connection:
        with pytest.raises(DataUnavailable, match=r"no bars of XYZ.*ABC.*--symbol XYZ"):
            stored_bars.bar_span(connection, "XYZ")
        with pytest.raises(DataUnavailable, match=r"no bars of abc in the database; did you mean ABC\?"):
            stored_bars.bar_span(connection, "abc")


def rejected_rows(engine: Engine) -> list[tuple]:
    with engine.connect() as connection:
        found = connection.execute(text("SELECT row_number, reason FROM bars_set_aside ORDER BY time, row_number"))
        return [tuple(row) for row in found]


def load(engine: Engine, tmp_path: Path, bars: pd.DataFrame) -> Loaded:
    """Load `bars` as the file that every load overwrites."""
    bars.to_csv(tmp_path / "latest.csv", index=False)
    return load_bars(engine, "ABC", load_rows(tmp_path / "latest.csv", FileLimits()), 1_000)


def test_rejected_rows_are_stored_once_with_their_reasons(engine: Engine, tmp_path: Path, bars: pd.DataFrame) -> None:
    raw = bars.head(20).copy()
    raw.loc[3, "close"] = -1.0
    raw.loc[7, "high"] = raw.loc[7, "low"] / 2
    for _ in range(2):
        assert load(engine, tmp_path, raw).rows_usable == 18
        assert rejected_rows(engine) == [(4, "price is zero or negative"), (8, "high is below low")]


def test_different_bad_rows_at_one_place_of_a_file_are_both_kept(
    engine: Engine, tmp_path: Path, bars: pd.DataFrame
) -> None:
    for minute in (1, 2):
        load(engine, tmp_path, bars.iloc[[minute]].assign(close=-1.0))
    assert rejected_rows(engine) == [(1, "price is zero or negative")] * 2


def test_row_that_is_mended_later_is_no_longer_rejected(engine: Engine, tmp_path: Path, bars: pd.DataFrame) -> None:
    for minute in (1, 2):
        load(engine, tmp_path, bars.iloc[[minute]].assign(close=-1.0))
    load(engine, tmp_path, bars.iloc[[2]])
    with engine.connect() as connection:
        kept = connection.execute(text("SELECT time FROM bars_set_aside")).scalars().all()
    assert kept == [bars["time"].iloc[1].to_pydatetime()]


def test_price_100_times_too_high_alone_in_its_file_is_rejected(
    engine: Engine, tmp_path: Path, bars: pd.DataFrame
) -> None:
    load(engine, tmp_path, bars.head(30))
    loaded = load(engine, tmp_path, times_price(bars.iloc[[30]], 100))
    assert loaded.reasons == {ABSURD_PRICE: 1}
    assert load(engine, tmp_path, bars.iloc[30:32]).rows_usable == 2
    assert rejected_rows(engine) == []


@pytest.mark.parametrize("rows_in_a_file", [1, 5])
def test_level_that_stays_comes_in_with_the_rows_that_waited(
    engine: Engine, tmp_path: Path, bars: pd.DataFrame, rows_in_a_file: int
) -> None:
    split = times_price(bars.iloc[30:50], 1 / 20)
    load(engine, tmp_path, bars.head(30))
    for start in range(0, 20, rows_in_a_file):
        load(engine, tmp_path, split.iloc[start : start + rows_in_a_file])
        if start + rows_in_a_file <= 5:
            assert len(rejected_rows(engine)) == start + rows_in_a_file
    assert rejected_rows(engine) == []
    with engine.connect() as connection:
        stored = stored_bars.recent_bars(connection, "ABC", UNTIL, 20)
    pd.testing.assert_frame_equal(stored, split.reset_index(drop=True))


def test_stored_bars_and_rejected_rows_are_copied_in_bulk(engine: Engine, tmp_path: Path, bars: pd.DataFrame) -> None:
    statements: list[str] = []
    event.listen(engine, "before_cursor_execute", lambda *arguments: statements.append(arguments[2]))
    assert load(engine, tmp_path, bars.assign(volume=-1.0)).reasons == {"volume is negative": 2_000}
    assert len(rejected_rows(engine)) == 2_000
    assert len(statements) < 10


@pytest.mark.parametrize(("stored", "differing", "doubtful"), [(49, 49, False), (60, 29, False), (60, 30, True)])
def test_load_that_replaces_half_of_the_stored_bars_is_doubted(
    engine: Engine, tmp_path: Path, bars: pd.DataFrame, stored: int, differing: int, doubtful: bool
) -> None:
    load(engine, tmp_path, bars.head(stored))
    other = bars.head(stored + 100).copy()
    other.loc[: differing - 1, "volume"] += 1
    loaded = load(engine, tmp_path, other)
    assert (loaded.rows_new, loaded.rows_changed, loaded.rows_unchanged) == (100, differing, stored - differing)
    assert bool(loaded.doubt) == doubtful
    if doubtful:
        assert loaded.doubt.startswith("30 of 60 bars that were stored before differ (50%)")
        assert "--timezone" in loaded.doubt


def times_price(bars: pd.DataFrame, factor: float) -> pd.DataFrame:
    return bars.assign(**{column: bars[column] * factor for column in PRICE_COLUMNS})
