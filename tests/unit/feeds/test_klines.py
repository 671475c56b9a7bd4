"""Klines of an answer become rows of bars, or the answer is refused."""

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import pytest

from hybrid_ml.feeds.feed import final_through
from hybrid_ml.feeds.klines import NotKlines, parse_klines
from hybrid_ml.market.bars import BAR_COLUMNS, FEED_COLUMNS, clean_bars, surely_clean
from tests.exchange_server import kline

SINCE = datetime(2024, 3, 5, 12, tzinfo=UTC)
UNTIL = SINCE + timedelta(minutes=10)
FIRST = round(SINCE.timestamp()) // 60


def parse(rows: Any) -> Any:
    return parse_klines(json.dumps(rows).encode(), SINCE, UNTIL)


def changed(position: int, value: Any) -> list[Any]:
    row = kline(FIRST + 1)
    row[position] = value
    return [kline(FIRST), row, kline(FIRST + 2)]


def test_every_stated_value_is_kept() -> None:
    row = [
        FIRST * 60_000,
        "0.0163479",
        "0.8",
        "0.015758",
        "0.015771",
        "148976.11",
        0,
        "2434.19",
        308,
        "1756.87",
        "28.5",
        "0",
    ]
    rows = parse([row])
    assert list(rows.columns) == [*BAR_COLUMNS, *FEED_COLUMNS]
    assert rows["time"].tolist() == [SINCE]
    assert str(rows["time"].dtype) == "datetime64[us, UTC]"
    assert rows["trades"].dtype == np.int64
    values = (0.0163479, 0.8, 0.015758, 0.015771, 148976.11, 2434.19, 308, 1756.87)
    assert rows.iloc[0, 1:].tolist() == list(values)


def test_answer_without_rows_is_an_empty_frame() -> None:
    rows = parse([])
    assert rows.empty
    assert list(rows.columns) == [*BAR_COLUMNS, *FEED_COLUMNS]
    assert str(rows["time"].dtype) == "datetime64[us, UTC]"


@pytest.mark.parametrize(
    ("body", "problem"),
    [
        (b"", "no JSON: nothing"),
        (b"<html>maintenance</html>", "no JSON: <html>maintenance"),
        (b"\xff\xfe\x00", "no JSON"),
        (b"[" * 100_000, "no JSON"),
        (b'{"code": 0, "msg": "ok"}', "no list of klines: {"),
        (b"null", "no list of klines"),
        (b"[[1499040000000, 1]]", "no list of klines"),
        (b"[null, null]", "no list of klines"),
    ],
)
def test_body_that_is_no_list_of_klines_is_refused(body: bytes, problem: str) -> None:
    with pytest.raises(NotKlines) as refused:
        parse_klines(body, SINCE, UNTIL)
    assert str(refused.value).startswith(problem)


@pytest.mark.parametrize(
    ("rows", "problem"),
    [
        (changed(4, "NaN"), "is not finite"),
        (changed(1, float("inf")), "is not finite"),
        (changed(5, None), "no number"),
        (changed(5, "much"), "no number"),
        (changed(0, "1709640060000"), "no number"),
        (changed(0, (FIRST + 1) * 60_000 + 1), "off the minute grid"),
        (changed(0, (FIRST + 1) * 60_000_000), "outside of"),
        (changed(0, FIRST * 60_000), "is repeated"),
        ([kline(FIRST + 1), kline(FIRST)], "is repeated"),
        ([kline(FIRST - 1)], "outside of 2024-03-05 12:00 to 2024-03-05 12:10 UTC"),
        ([kline(FIRST + 10)], "outside of"),
    ],
)
def test_row_that_is_no_bar_of_the_range_is_refused(rows: list, problem: str) -> None:
    with pytest.raises(NotKlines, match=problem):
        parse(rows)


@pytest.mark.parametrize(
    ("second", "settling_seconds", "newest_open_minutes_ago"), [(1.9, 2, 2), (2.0, 2, 1), (59.9, 2, 1), (0.0, 0, 1)]
)
def test_bar_is_final_when_its_minute_has_settled(
    second: float, settling_seconds: float, newest_open_minutes_ago: int
) -> None:
    end = final_through(SINCE + timedelta(seconds=second), settling_seconds)
    assert SINCE - end == timedelta(minutes=newest_open_minutes_ago - 1)


@pytest.mark.parametrize(
    ("column", "value", "clean"),
    [
        ("high", 104.0, True),
        ("high", 90.0, False),
        ("low", 0.0, False),
        ("volume", -1.0, False),
        ("high", 2_000.0, False),
    ],
)
def test_rows_that_are_surely_clean_are_those_of_which_none_is_rejected(column: str, value: float, clean: bool) -> None:
    rows = parse([kline(FIRST + n) for n in range(10)])
    rows.loc[4, column] = value
    assert surely_clean(rows) == clean
    assert clean_bars(rows).rejected.empty == clean
