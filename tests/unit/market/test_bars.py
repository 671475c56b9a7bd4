"""Cleaning of bars: valid rows, rejected rows with reasons, and the grid."""

from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hybrid_ml.errors import BadInput, CalendarEnded
from hybrid_ml.market.bars import (
    BAR_COLUMNS,
    PRICE_COLUMNS,
    VALUE_COLUMNS,
    age_minutes,
    clean_bars,
    closed_before,
    future_problem,
    to_grid,
)
from hybrid_ml.market.sessions import Sessions, make_sessions
from tests.simulated import NOON, bars_at, hand_made_bars

COUNT = 40
FIRST_UNIX_SECOND = int(NOON.timestamp())


def good_rows(count: int = COUNT) -> pd.DataFrame:
    return bars_at(list(range(count)))


def with_value(column: str, row: int, value: Any) -> pd.DataFrame:
    rows = good_rows()
    rows[column] = rows[column].astype(object)
    rows.loc[row, column] = value
    return rows


def times_of(bars: pd.DataFrame) -> list[pd.Timestamp]:
    return bars["time"].tolist()


def test_valid_rows_become_bars_with_fixed_types() -> None:
    cleaned = clean_bars(good_rows())
    assert cleaned.reasons == {}
    assert list(cleaned.bars.columns) == BAR_COLUMNS
    assert [str(kind) for kind in cleaned.bars.dtypes] == ["datetime64[us, UTC]"] + ["float64"] * 5
    pd.testing.assert_frame_equal(cleaned.bars, good_rows())


def test_empty_file_gives_no_bars_and_no_rejected_rows() -> None:
    cleaned = clean_bars(good_rows(0))
    assert len(cleaned.bars) == len(cleaned.rejected) == 0
    assert list(cleaned.bars.columns) == BAR_COLUMNS


def test_all_missing_columns_are_named() -> None:
    with pytest.raises(BadInput, match="columns low, volume are missing; a bar needs time, open"):
        clean_bars(good_rows().drop(columns=["low", "volume"]))


@pytest.mark.parametrize(
    ("column", "value", "reason"),
    [
        ("time", "yesterday", "time is not a date and time between 1980 and 2200"),
        ("time", None, "time is not a date and time between 1980 and 2200"),
        ("time", "2024-03-05T12:05:01", "time is not a whole minute"),
        ("time", "2024-03-05T12:05:00.5", "time is not a whole minute"),
        ("close", "abc", "price is not a number"),
        ("close", "1,234.5", "price is not a number"),
        ("open", None, "price is not a number"),
        ("high", float("nan"), "price is not a number"),
        ("high", float("inf"), "price is not a number"),
        ("volume", "much", "volume is not a number"),
        ("volume", float("nan"), "volume is not a number"),
        ("volume", float("inf"), "volume is not a number"),
        ("low", 0.0, "price is zero or negative"),
        ("low", -5.0, "price is zero or negative"),
        ("volume", -1e-9, "volume is negative"),
        ("high", 90.0, "high is below low"),
        ("close", 106.1, "open or close lies outside low..high"),
        ("open", 104.2, "open or close lies outside low..high"),
        ("high", 106.0 * 100, "price is more than 10 times off its neighbours"),
        ("low", 0.01, "price is more than 10 times off its neighbours"),
    ],
)
def test_invalid_row_is_rejected_with_its_reason(column: str, value: Any, reason: str) -> None:
    cleaned = clean_bars(with_value(column, 5, value))
    assert cleaned.reasons == {reason: 1}
    assert cleaned.rejected["row"].tolist() == [6]
    assert str(value) in cleaned.rejected["raw"].item()
    pd.testing.assert_frame_equal(cleaned.bars, good_rows().drop(index=5).reset_index(drop=True))


def test_numbers_as_text_are_accepted() -> None:
    rows = good_rows()
    for column in VALUE_COLUMNS:
        rows[column] = rows[column].map(repr)
    pd.testing.assert_frame_equal(clean_bars(rows).bars, good_rows())


def test_zero_volume_is_valid() -> None:
    assert clean_bars(hand_made_bars([100.0] * 5, volume=0.0)).reasons == {}


def test_close_may_exceed_high_by_rounding() -> None:
    rows = hand_made_bars([0.1 + 0.2] * 3)
    rows["low"], rows["high"] = 0.2, 0.3
    assert clean_bars(rows).reasons == {}


def test_last_row_of_a_repeated_time_is_kept() -> None:
    correction = good_rows().iloc[[7]].assign(close=107.31, volume=99.0)
    cleaned = clean_bars(pd.concat([good_rows(), correction], ignore_index=True))
    assert cleaned.reasons == {"time is repeated; the last row of that time is kept": 1}
    assert cleaned.rejected["row"].tolist() == [8]
    assert cleaned.bars.loc[7, ["close", "volume"]].tolist() == [107.31, 99.0]
    assert len(cleaned.bars) == COUNT


def test_invalid_correction_does_not_replace_the_valid_row() -> None:
    broken = good_rows().iloc[[7]].assign(close=np.nan)
    cleaned = clean_bars(pd.concat([good_rows(), broken], ignore_index=True))
    assert cleaned.reasons == {"price is not a number": 1}
    pd.testing.assert_frame_equal(cleaned.bars, good_rows())


def test_same_time_in_two_zones_is_a_repeated_time() -> None:
    rows = good_rows(2)
    rows["time"] = ["2024-03-05T12:00:00Z", "2024-03-05T17:30:00+05:30"]
    cleaned = clean_bars(rows)
    assert times_of(cleaned.bars) == [pd.Timestamp(NOON)]
    assert cleaned.bars["open"].tolist() == [101.0]


@given(order=st.permutations(range(COUNT)))
def test_order_of_rows_does_not_matter(order: list[int]) -> None:
    cleaned = clean_bars(good_rows().iloc[order])
    assert cleaned.reasons == {}
    pd.testing.assert_frame_equal(cleaned.bars, good_rows())


BROKEN = {
    "time is not a date and time between 1980 and 2200": {"time": "n/a"},
    "time is not a whole minute": {"time": "2024-03-05T12:00:30Z"},
    "price is not a number": {"open": "abc"},
    "volume is not a number": {"volume": ""},
    "price is zero or negative": {"close": "0"},
    "volume is negative": {"volume": -3},
    "high is below low": {"high": 1},
    "price is more than 10 times off its neighbours": dict.fromkeys(PRICE_COLUMNS, 1e6),
}


@given(st.lists(st.tuples(st.integers(0, COUNT - 1), st.sampled_from(sorted(BROKEN))), max_size=6), st.randoms())
def test_mixed_bad_rows_are_rejected_and_counted_by_reason(bad_rows: list[tuple[int, str]], random: Any) -> None:
    """Bad rows have their own times, so that none repeats the time of a good row."""
    rows = good_rows().astype(object).to_dict("records")
    expected_reasons: dict[str, int] = {}
    for position, (position_of_original, reason) in enumerate(bad_rows):
        row = {**rows[position_of_original], "time": pd.Timestamp(NOON) + pd.Timedelta(minutes=COUNT + position)}
        rows.append({**row, **BROKEN[reason]})
        expected_reasons[reason] = expected_reasons.get(reason, 0) + 1
    random.shuffle(rows)
    cleaned = clean_bars(pd.DataFrame(rows))
    assert cleaned.reasons == expected_reasons
    pd.testing.assert_frame_equal(cleaned.bars, good_rows())


def test_most_frequent_reason_comes_first() -> None:
    rows = good_rows()
    rows.loc[[1, 2], "close"] = np.nan
    rows.loc[4, "volume"] = -1.0
    assert list(clean_bars(rows).reasons.items()) == [("price is not a number", 2), ("volume is negative", 1)]


def test_single_price_off_by_factor_100_is_rejected() -> None:
    rows = hand_made_bars([100.0] * 60)
    rows.loc[30, PRICE_COLUMNS] = 10_000.0
    rows.loc[45, PRICE_COLUMNS] = 1.0
    cleaned = clean_bars(rows)
    assert cleaned.rejected["row"].tolist() == [31, 46]


@pytest.mark.parametrize("row", [0, 59])
def test_outlier_at_either_end_is_rejected(row: int) -> None:
    rows = hand_made_bars([100.0] * 60)
    rows.loc[row, PRICE_COLUMNS] = 10_000.0
    assert clean_bars(rows).rejected["row"].tolist() == [row + 1]


@pytest.mark.parametrize("factor", [3.0, 1 / 3, 9.9, 1 / 9.9])
def test_large_move_below_factor_10_is_valid(factor: float) -> None:
    lasting = [100.0] * 30 + [100.0 * factor] * 30
    temporary = [100.0] * 30 + [100.0 * factor] + [100.0] * 29
    assert clean_bars(hand_made_bars(lasting)).reasons == {}
    assert clean_bars(hand_made_bars(temporary)).reasons == {}


def test_lasting_change_of_the_price_level_is_valid() -> None:
    assert clean_bars(hand_made_bars([100.0] * 30 + [10_000.0] * 30)).reasons == {}


def test_outliers_are_compared_with_neighbours_in_time() -> None:
    rows = hand_made_bars([100.0] * 40 + [5_000.0] * 40)
    shuffled = rows.sample(frac=1, random_state=3)
    assert clean_bars(shuffled).reasons == {}


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        ("2024-03-05 12:00", "2024-03-05T12:00Z"),
        ("2024-03-05T12:00:00", "2024-03-05T12:00Z"),
        ("2024-03-05T12:00:00Z", "2024-03-05T12:00Z"),
        ("2024-03-05T12:00:00.000Z", "2024-03-05T12:00Z"),
        ("2024-03-05T12:00:00+05:30", "2024-03-05T06:30Z"),
        ("2024-03-05 12:00-08:00", "2024-03-05T20:00Z"),
    ],
)
def test_time_without_zone_is_utc_and_offset_is_converted(written: str, expected: str) -> None:
    assert times_of(clean_bars(good_rows(1).assign(time=[written])).bars) == [pd.Timestamp(expected)]


def test_mixed_time_formats_in_one_column_are_accepted() -> None:
    times = ["2024-03-05 12:00", "2024-03-05T17:31:00+05:30", datetime(2024, 3, 5, 12, 2), pd.Timestamp(NOON)]  # noqa: DTZ001
    cleaned = clean_bars(good_rows(4).assign(time=pd.Series(times, dtype=object)))
    assert cleaned.reasons == {"time is repeated; the last row of that time is kept": 1}
    assert [f"{time:%H:%M}" for time in times_of(cleaned.bars)] == ["12:00", "12:01", "12:02"]


def test_local_times_are_converted_across_the_end_of_summer_time() -> None:
    local = pd.date_range("2024-10-27 00:58", periods=150, freq="min", tz="Europe/Berlin", unit="us")
    cleaned = clean_bars(hand_made_bars([100.0] * 150).assign(time=local))
    assert cleaned.reasons == {}
    assert cleaned.bars["time"].diff().dropna().unique().tolist() == [pd.Timedelta(minutes=1)]
    assert cleaned.bars["time"][0] == pd.Timestamp("2024-10-26T22:58Z")


def test_naive_timestamps_are_utc() -> None:
    naive = good_rows()["time"].dt.tz_localize(None)
    pd.testing.assert_frame_equal(clean_bars(good_rows().assign(time=naive)).bars, good_rows())


@pytest.mark.parametrize("scale", [1, 1_000])
@pytest.mark.parametrize("kind", ["int64", "float64", "Int64"])
def test_numeric_times_are_unix_seconds_or_milliseconds(scale: int, kind: str) -> None:
    numbers = pd.Series((FIRST_UNIX_SECOND + 60 * np.arange(COUNT)) * scale).astype(kind)
    pd.testing.assert_frame_equal(clean_bars(good_rows().assign(time=numbers)).bars, good_rows())


def test_missing_unix_time_rejects_only_its_row() -> None:
    numbers = pd.Series(FIRST_UNIX_SECOND + 60.0 * np.arange(COUNT))
    numbers[3] = np.nan
    numbers[9] = np.inf
    cleaned = clean_bars(good_rows().assign(time=numbers))
    assert cleaned.reasons == {"time is not a date and time between 1980 and 2200": 2}
    assert cleaned.rejected["row"].tolist() == [4, 10]


def test_unix_times_between_minutes_are_rejected() -> None:
    numbers = FIRST_UNIX_SECOND + 60 * np.arange(COUNT) + 59
    assert clean_bars(good_rows().assign(time=numbers)).reasons == {"time is not a whole minute": COUNT}


def test_cleaning_does_not_change_its_input() -> None:
    rows = with_value("close", 3, "abc")
    before = rows.copy(deep=True)
    clean_bars(rows)
    pd.testing.assert_frame_equal(rows, before)


def test_frame_with_repeated_index_labels_is_cleaned_by_position() -> None:
    rows = good_rows()
    rows.loc[5, "volume"] = -1.0
    rows.index = pd.Index([0] * COUNT)
    cleaned = clean_bars(rows)
    assert cleaned.rejected["row"].tolist() == [6]
    assert len(cleaned.bars) == COUNT - 1


def test_short_gap_is_filled_with_the_last_close_and_zero_volume() -> None:
    grid = to_grid(bars_at([0, 1, 4]), max_gap_minutes=2)
    assert [f"{time:%M}" for time in grid.index] == ["00", "01", "02", "03", "04"]
    assert grid["carried"].tolist() == [False, False, True, True, False]
    assert grid["session"].tolist() == [0] * 5
    for column in PRICE_COLUMNS:
        assert grid[column].iloc[2:4].tolist() == [101.3, 101.3]
    assert grid["volume"].tolist() == [1.0, 2.0, 0.0, 0.0, 3.0]


def test_gap_longer_than_the_limit_starts_a_session() -> None:
    at_the_limit, over_it = (to_grid(bars_at([0, 31 + extra])) for extra in (0, 1))
    assert at_the_limit["session"].unique().tolist() == [0]
    assert len(at_the_limit) == 32
    assert over_it["session"].tolist() == [0, 1]
    assert not over_it["carried"].any()


def test_grid_ends_with_the_last_bar() -> None:
    grid = to_grid(bars_at([0, 3]))
    assert grid.index[-1] == pd.Timestamp(NOON + timedelta(minutes=3))
    assert not grid["carried"].iloc[-1]


def grid_by_hand(bars: pd.DataFrame, max_gap: int) -> list[tuple]:
    """The grid computed minute by minute."""
    rows: list[tuple] = []
    session = 0
    for bar in bars.itertuples(index=False):
        if rows:
            minute, close = rows[-1][0] + pd.Timedelta(minutes=1), rows[-1][4]
            if (bar.time - minute) // pd.Timedelta(minutes=1) > max_gap:
                session += 1
            else:
                while minute < bar.time:
                    rows.append((minute, close, close, close, close, 0.0, session, True))
                    minute += pd.Timedelta(minutes=1)
        rows.append((bar.time, bar.open, bar.high, bar.low, bar.close, bar.volume, session, False))
    return rows


@given(steps=st.lists(st.integers(1, 12), min_size=0, max_size=40), max_gap=st.integers(0, 10))
def test_grid_equals_minute_by_minute_construction(steps: list[int], max_gap: int) -> None:
    bars = bars_at(np.cumsum([0, *steps]).tolist())
    grid = to_grid(bars, max_gap)
    assert list(grid.reset_index().itertuples(index=False, name=None)) == grid_by_hand(bars, max_gap)


def market(*spans: tuple[int, int]) -> Sessions:
    """Sessions of these minutes after NOON, and one in the hour before."""
    times = [(NOON + timedelta(minutes=begin), NOON + timedelta(minutes=end)) for begin, end in ((-60, -50), *spans)]
    return make_sessions("X", times)


@given(
    steps=st.lists(st.integers(1, 6), min_size=1, max_size=40),
    max_gap=st.integers(0, 5),
    marks=st.lists(st.integers(0, 60), min_size=2, max_size=6, unique=True).map(sorted),
)
def test_grid_with_sessions_is_the_grid_of_each_session(steps: list[int], max_gap: int, marks: list[int]) -> None:
    spans = [*zip(marks[::2], marks[1::2], strict=False), (10_000, 10_010)]
    bars = bars_at(np.cumsum([0, *steps]).tolist())
    grid = to_grid(bars, max_gap, market(*spans))
    minutes = (bars["time"] - pd.Timestamp(NOON)) // pd.Timedelta(minutes=1)
    parts = [grid_by_hand(bars[(minutes >= begin) & (minutes < end)], max_gap) for begin, end in spans]
    expected, sessions = list[tuple](), 0
    for part in parts:
        expected += [(*row[:6], row[6] + sessions, row[7]) for row in part]
        sessions += part[-1][6] + 1 if part else 0
    assert list(grid.reset_index().itertuples(index=False, name=None)) == expected


def test_bar_of_which_the_calendar_states_nothing_is_an_error() -> None:
    with pytest.raises(CalendarEnded, match="calendar X is known until"):
        to_grid(bars_at([0, 12]), sessions=market((0, 10)))


def test_grid_of_no_bars_is_empty() -> None:
    grid = to_grid(good_rows(0))
    assert len(grid) == 0
    assert list(grid.columns) == [*VALUE_COLUMNS, "session", "carried"]


@pytest.mark.parametrize(
    ("as_of", "opened"),
    [("12:00:00", "11:59"), ("12:00:59", "11:59"), ("12:01:00", "12:00"), ("00:00:30", "23:59")],
)
def test_bar_is_used_only_after_its_minute(as_of: str, opened: str) -> None:
    assert f"{closed_before(datetime.fromisoformat(f'2024-03-05T{as_of}+00:00')):%H:%M}" == opened


def test_age_is_counted_from_the_close_of_the_bar() -> None:
    bar_time = datetime(2024, 3, 5, 12, 0, tzinfo=UTC)
    assert age_minutes(bar_time, bar_time + timedelta(minutes=1)) == 0.0
    assert age_minutes(bar_time, bar_time + timedelta(minutes=16, seconds=30)) == 15.5


@pytest.mark.parametrize(("minutes", "words"), [(-5, ""), (1, ""), (2, "2 minutes"), (301, "301 minutes")])
def test_bar_of_the_future_is_named(minutes: int, words: str) -> None:
    now = datetime(2024, 3, 5, 12, tzinfo=UTC)
    problem = future_problem(now + timedelta(minutes=minutes - 1), now)
    assert problem == (f"the newest bar lies {words} in the future" if words else "")
