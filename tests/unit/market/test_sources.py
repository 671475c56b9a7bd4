"""Files of bars: accepted formats, and errors of unreadable files."""

from pathlib import Path

import pandas as pd
import pytest

from hybrid_ml.errors import BadInput
from hybrid_ml.market.sources import read_bar_file
from tests.simulated import bars_at, simulated_bars

HEADER = "time,open,high,low,close,volume\n"


@pytest.fixture
def bars() -> pd.DataFrame:
    return simulated_bars(300)


def test_csv_and_parquet_are_read_unchanged(bars: pd.DataFrame, tmp_path: Path) -> None:
    bars.to_csv(tmp_path / "bars.csv", index=False)
    bars.to_parquet(tmp_path / "bars.parquet")
    for name in ("bars.csv", "bars.parquet"):
        read = read_bar_file(tmp_path / name)
        assert read.reasons == {}
        pd.testing.assert_frame_equal(read.bars, bars)


@pytest.mark.parametrize("extension", ["PARQUET", "pq"])
def test_parquet_extension_is_case_insensitive(bars: pd.DataFrame, tmp_path: Path, extension: str) -> None:
    bars.to_parquet(tmp_path / f"bars.{extension}")
    pd.testing.assert_frame_equal(read_bar_file(tmp_path / f"bars.{extension}").bars, bars)


@pytest.mark.parametrize("name", ["time", "timestamp", "DateTime", " Date ", "open_time", "TIME"])
def test_column_names_are_case_insensitive_and_time_has_aliases(bars: pd.DataFrame, tmp_path: Path, name: str) -> None:
    path = tmp_path / "bars.csv"
    bars.rename(columns={"time": name, "open": "Open", "volume": "VOLUME "}).to_csv(path, index=False)
    pd.testing.assert_frame_equal(read_bar_file(path).bars, bars)


def test_column_time_precedes_its_aliases(bars: pd.DataFrame, tmp_path: Path) -> None:
    path = tmp_path / "bars.csv"
    bars.assign(date="2001-01-01", timestamp=0).to_csv(path, index=False)
    pd.testing.assert_frame_equal(read_bar_file(path).bars, bars)


def test_extra_columns_are_ignored(bars: pd.DataFrame, tmp_path: Path) -> None:
    path = tmp_path / "bars.csv"
    bars.assign(trades=3, note="x").to_csv(path, index=False)
    pd.testing.assert_frame_equal(read_bar_file(path).bars, bars)


def test_time_may_be_the_index_of_a_parquet_file(bars: pd.DataFrame, tmp_path: Path) -> None:
    path = tmp_path / "bars.parquet"
    bars.set_index(pd.DatetimeIndex(bars["time"], name="when")).drop(columns="time").to_parquet(path)
    pd.testing.assert_frame_equal(read_bar_file(path).bars, bars)


def test_unix_times_in_a_file_are_accepted(bars: pd.DataFrame, tmp_path: Path) -> None:
    path = tmp_path / "bars.csv"
    bars.assign(time=bars["time"].astype("int64") // 1_000).to_csv(path, index=False)
    pd.testing.assert_frame_equal(read_bar_file(path).bars, bars)


def test_bad_rows_are_rejected_and_others_kept(tmp_path: Path) -> None:
    good = bars_at(list(range(30)))
    path = tmp_path / "bars.csv"
    good.to_csv(path, index=False)
    text = path.read_text() + "noon,1,1,1,1,1\n2024-03-05T13:00Z,n/a,101,99,100,1\n2024-03-05T13:01Z,,101,99,100,1\n"
    path.write_text(text)
    read = read_bar_file(path)
    assert read.reasons == {"price is not a number": 2, "time is not a date and time between 1980 and 2200": 1}
    pd.testing.assert_frame_equal(read.bars, good)


def test_byte_order_mark_is_ignored(tmp_path: Path) -> None:
    path = tmp_path / "bars.csv"
    path.write_text("\ufeff" + HEADER + "2024-03-05T12:00Z,100,101,99,100,1\n", encoding="utf-8")
    assert len(read_bar_file(path).bars) == 1


def test_missing_file_is_named_in_the_error(tmp_path: Path) -> None:
    for path in (tmp_path / "none.csv", tmp_path):
        with pytest.raises(BadInput, match="no such file") as raised:
            read_bar_file(path)
        assert str(path) in str(raised.value)


@pytest.mark.parametrize(
    ("name", "content", "text"),
    [
        ("bars.csv", b"", "cannot be read"),
        ("bars.csv", HEADER.encode(), "contains no rows"),
        ("bars.csv", HEADER.encode() + b"1,2,3\n", "1 row, none with as many fields as the header"),
        ("bars.csv", b"PK\x03\x04\xff\xfe,\n\x00\x01,,,\n", "none has these names"),
        ("bars.csv.gz", b"not compressed", "cannot be read"),
        ("bars.parquet", b"", "cannot be read"),
        ("bars.parquet", b"PAR1 but nothing else", "cannot be read"),
        ("bars.parquet", HEADER.encode(), "cannot be read"),
        ("bars.csv", b"time,open,high,low\n1,2,3,4\n", "columns close, volume are missing"),
        ("bars.csv", b"day,open,high,low\n1,2,3,4\n", "columns time, close, volume are missing"),
        ("bars.csv", b"1,2,3,4,5,6,7,8\n", "has no header, and 8 columns are no known kind of file"),
    ],
)
def test_unreadable_file_is_refused_with_its_name(tmp_path: Path, name: str, content: bytes, text: str) -> None:
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(BadInput, match=text) as raised:
        read_bar_file(path)
    assert f"--csv_path {path}" in str(raised.value)
    assert "\n" not in str(raised.value)


def test_truncated_row_and_nul_byte_reject_only_their_rows(tmp_path: Path) -> None:
    path = tmp_path / "bars.csv"
    lines = [f"2018-01-01 00:{minute:02}:00,1,1,1,1,1" for minute in range(30)]
    lines[3] = lines[3].replace(",1,", ",1\x00,", 1)
    path.write_text("\n".join(["time,open,high,low,close,volume", *lines, "2018-01-01 00:30:00,1", lines[4] + ",7"]))
    cleaned = read_bar_file(path)
    assert len(cleaned.bars) == 29
    assert sorted(cleaned.rejected["row"]) == [-2, -1, 4]
    assert cleaned.reasons["more or fewer fields than the header"] == 2
    assert not any("\x00" in raw for raw in cleaned.rejected["raw"])
