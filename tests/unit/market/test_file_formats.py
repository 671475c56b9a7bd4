"""Kinds of files of bars that are recognised by their look, and those that are refused with the reason."""

import gzip
import io
import re
import sys
import zipfile
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

from hybrid_ml.errors import BadInput
from hybrid_ml.market import bar_rows
from hybrid_ml.market.bar_rows import BarRows
from hybrid_ml.market.bars import BAR_COLUMNS, NEW_LEVEL, NOT_OVER, CleanBars, clean_bars
from hybrid_ml.market.file_formats import Reading
from hybrid_ml.market.file_limits import FileLimits
from hybrid_ml.market.sources import load_rows, read_bar_file
from tests.simulated import NOON, bars_at, hand_made_bars, simulated_bars

MINUTES = 30
BARS = bars_at(list(range(MINUTES)))
MILLISECONDS = BARS["time"].astype("int64") // 1_000
IST = timedelta(hours=5, minutes=30)


def text_of(frame: pd.DataFrame, **options: object) -> str:
    return frame.to_csv(index=False, **options)


def binance(times: pd.Series) -> pd.DataFrame:
    rest = {f"{number}": np.arange(MINUTES) for number in range(5)}
    return BARS.assign(time=times, close_time=times + 59_999, **rest)


def local(text_format: str, offset: timedelta = timedelta(0)) -> pd.DataFrame:
    return BARS.assign(time=(BARS["time"] + offset).dt.strftime(text_format))


def write(folder: Path, content: str, name: str = "bars.csv") -> Path:
    path = folder / name
    path.write_text(content)
    return path


def loaded(path: Path, reading: Reading = Reading(), now: datetime | None = None) -> tuple[BarRows, CleanBars]:  # noqa: B008
    rows = load_rows(path, FileLimits(), reading, now)
    return rows, read_bar_file(path, FileLimits(), reading, now)


NAMES_OF_BINANCE = ["Open time", "Open", "High", "Low", "Close", "Volume", "Close time", "q", "n", "tb", "tq", "ig"]
RECOGNISED = {
    "binance without header": (text_of(binance(MILLISECONDS), header=False), "Binance archive (12 columns, no header)"),
    "binance in µs": (text_of(binance(MILLISECONDS * 1_000), header=False), "Unix times in µs"),
    "binance with header": (text_of(binance(MILLISECONDS).set_axis(NAMES_OF_BINANCE, axis=1)), "Binance archive with"),
    "ms, then µs": (
        text_of(BARS.assign(time=np.where(np.arange(MINUTES) < 20, MILLISECONDS, MILLISECONDS * 1_000))),
        "Unix times in ms and µs",
    ),
    "kraken": (text_of(BARS.assign(time=MILLISECONDS // 1_000, trades=3), header=False), "Kraken OHLCVT (7 columns"),
    "six columns": (text_of(BARS, header=False), "plain bars (6 columns, no header)"),
    "decimal comma": (text_of(BARS, sep=";", decimal=","), "and ; between columns"),
    "newest first below an address": (
        "https://www.CryptoDataDownload.com\n"
        + text_of(
            BARS.assign(unix=MILLISECONDS, date=BARS["time"])
            .iloc[::-1][["unix", "date", *BAR_COLUMNS[1:]]]
            .rename(columns={"volume": "Volume USD"})
        ),
        "CryptoDataDownload with a header below an address; Unix times in ms",
    ),
    "names with blanks": (text_of(BARS.rename(columns={"time": "Open time", "volume": " VOL "})), "table with a head"),
    "histdata": (
        text_of(local("%Y%m%d %H%M%S", -timedelta(hours=5)), sep=";", header=False),
        "HistData (6 columns, no header); times without an offset taken as Etc/GMT+5",
    ),
    "dots in the date": (text_of(local("%Y.%m.%d %H:%M")), "taken as UTC (state another zone with --timezone)"),
    "closing second": (
        text_of(BARS.assign(time=BARS["time"] + timedelta(seconds=59))),
        "stamped with the closing second, taken as the minute they close",
    ),
    "json lines": (BARS.assign(time=BARS["time"].astype(str)).to_json(orient="records", lines=True), "JSON lines"),
}  # fmt: skip


@pytest.mark.parametrize("kind", RECOGNISED)
def test_file_is_recognised_and_said_so(tmp_path: Path, kind: str) -> None:
    content, description = RECOGNISED[kind]
    rows, cleaned = loaded(write(tmp_path, content))
    assert description in rows.taken_for
    assert cleaned.reasons == {}
    pd.testing.assert_frame_equal(cleaned.bars, BARS)


def test_file_of_two_units_keeps_the_true_time_of_each_row(tmp_path: Path) -> None:
    times = pd.Series(pd.date_range("2024-12-31T23:50Z", periods=MINUTES, freq="min", unit="us"))
    numbers = times.astype("int64") // np.where(times < pd.Timestamp("2025-01-01T00:00Z"), 1_000, 1)
    assert loaded(write(tmp_path, text_of(BARS.assign(time=numbers))))[1].bars["time"].tolist() == times.tolist()


@pytest.mark.parametrize("volume", ["", "nan", None])
def test_index_without_volume_is_stored_with_zero_and_said_so(tmp_path: Path, volume: str | None) -> None:
    frame = BARS.drop(columns="volume") if volume is None else BARS.assign(volume=volume)
    rows, cleaned = loaded(write(tmp_path, text_of(frame)))
    assert "no volume, stored as 0" in rows.taken_for
    pd.testing.assert_frame_equal(cleaned.bars, BARS.assign(volume=0.0))


def test_missing_volume_among_others_is_rejected(tmp_path: Path) -> None:
    content = text_of(BARS.assign(volume=["", *BARS["volume"].astype(str)[1:]]))
    assert loaded(write(tmp_path, content))[1].reasons == {"volume is not a number": 1}


@pytest.mark.parametrize("header", [True, False])
def test_date_and_time_apart_load_in_their_zone(tmp_path: Path, header: bool) -> None:
    day, clock = (local(form, IST)["time"] for form in ("%Y%m%d", "%H:%M"))
    frame = BARS.drop(columns="time")
    frame.insert(0, "Date", day)
    frame.insert(1, "Time", clock)
    rows, cleaned = loaded(write(tmp_path, text_of(frame, header=header)), Reading(timezone="Asia/Kolkata"))
    assert "taken as Asia/Kolkata" in rows.taken_for
    pd.testing.assert_frame_equal(cleaned.bars, BARS)


def test_day_first_is_refused_until_its_format_is_stated(tmp_path: Path) -> None:
    path = write(tmp_path, text_of(local("%d-%m-%Y %H:%M")))
    text = "05-03-2024 12:00 day and month are ambiguous.*--time_format '%d-%m-%Y %H:%M'"
    with pytest.raises(BadInput, match=text):
        loaded(path)
    pd.testing.assert_frame_equal(loaded(path, Reading(time_format="%d-%m-%Y %H:%M"))[1].bars, BARS)


def test_columns_may_be_stated(tmp_path: Path) -> None:
    frame = BARS[["volume", "close", "time", "high", "low", "open"]].assign(a=1, b=2)
    columns = ("volume", "close", "time", "high", "low", "open")
    for header in (False, ["x1", "x2", "x3", "x4", "x5", "x6", "x7", "x8"]):
        path = write(tmp_path, text_of(frame, header=header))
        pd.testing.assert_frame_equal(loaded(path, Reading(columns=columns))[1].bars, BARS)


BHAVCOPY = "SYMBOL,SERIES,OPEN,HIGH,LOW,CLOSE,LAST,TOTTRDQTY,TIMESTAMP\nABC,EQ,1,2,1,2,2,9,2024-01-01\n"


@pytest.mark.parametrize(
    ("content", "text"),
    [
        (text_of(BARS.assign(time=BARS["time"][0] + 5 * (BARS["time"] - BARS["time"][0]))), "5 minutes apart"),
        (BHAVCOPY, "NSE bhavcopy, one row a share and day"),
        ("1709640000,1,2,1,2,3,4,5\n" * 3, "no header, and 8 columns.*--columns time,open"),
    ],
)
def test_other_files_are_refused_with_the_reason(tmp_path: Path, content: str, text: str) -> None:
    with pytest.raises(BadInput, match=text) as raised:
        loaded(write(tmp_path, content))
    assert "\n" not in str(raised.value)


def test_minutes_without_trades_are_no_longer_bars(tmp_path: Path) -> None:
    minutes = np.unique(np.random.default_rng(3).integers(0, 400, 90)).tolist()
    assert len(loaded(write(tmp_path, text_of(bars_at(minutes))))[1].bars) == len(minutes)


def test_packed_files_feather_folders_and_patterns_are_read(tmp_path: Path) -> None:
    parts = [BARS.iloc[start : start + 10] for start in (0, 10, 20)]
    with zipfile.ZipFile(tmp_path / "a-2024-01.zip", "w") as archive:
        archive.writestr("a.csv", text_of(parts[0]))
    (tmp_path / "a-2024-02.csv.gz").write_bytes(gzip.compress(text_of(parts[1], header=False).encode()))
    parts[2].reset_index(drop=True).to_feather(tmp_path / "a-2024-03.feather")
    (tmp_path / "a-2024-01.zip.CHECKSUM").write_text("no bars")
    for path in (tmp_path, tmp_path / "a-2024-0?.*[!M]"):
        rows, cleaned = loaded(path)
        pd.testing.assert_frame_equal(cleaned.bars, BARS)
        assert "(and 2 files more)" in rows.taken_for
    with pytest.raises(BadInput, match="no such file"):
        loaded(tmp_path / "*.parquet")


def test_archive_of_several_files_is_refused(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "all.zip", "w") as archive:
        archive.writestr("A.csv", text_of(BARS))
        archive.writestr("B.csv", text_of(BARS))
    with pytest.raises(BadInput, match="contains 2 files; extract that of this symbol"):
        loaded(tmp_path / "all.zip")


@pytest.mark.parametrize("kind", ["six columns", "json lines"])
def test_standard_input_is_read(monkeypatch: pytest.MonkeyPatch, kind: str) -> None:
    monkeypatch.setattr(sys, "stdin", SimpleNamespace(buffer=io.BytesIO(RECOGNISED[kind][0].encode())))
    pd.testing.assert_frame_equal(read_bar_file(Path("-")).bars, BARS)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (
            b"",
            "standard input: cannot be read (it is empty); pipe a program into it that prints bars",
        ),
        (b"PAR1", "standard input: cannot be read as CSV (it is Parquet); load it as a file that ends in .parquet"),
        (b"time,open,high,close\n2024-01-01,1,2,1\n", "standard input: columns low, volume are missing"),
    ],
)
def test_error_about_standard_input_names_it_and_the_remedy(
    monkeypatch: pytest.MonkeyPatch, content: bytes, message: str
) -> None:
    monkeypatch.setattr(sys, "stdin", SimpleNamespace(buffer=io.BytesIO(content)))
    with pytest.raises(BadInput, match=f"^{re.escape(message)}"):
        read_bar_file(Path("-"))


def test_damaged_json_lines_are_rejected(tmp_path: Path) -> None:
    content = RECOGNISED["json lines"][0] + '{"time": \n[1, 2]\n'
    assert loaded(write(tmp_path, content))[1].reasons == {"more or fewer fields than the header": 2}


def test_minute_that_is_not_over_is_rejected(tmp_path: Path) -> None:
    now = NOON + timedelta(minutes=MINUTES - 1, seconds=30)
    cleaned = loaded(write(tmp_path, text_of(BARS)), now=now)[1]
    assert cleaned.reasons == {NOT_OVER: 1}
    assert cleaned.rejected["row"].tolist() == [MINUTES]


@pytest.mark.parametrize(
    ("offset", "lead"),
    [(IST, "5 h 30 min ahead of now: local time of Asia/Kolkata"), (timedelta(hours=9), "9 h ahead.*Asia/Tokyo")],
)
def test_local_time_taken_as_utc_is_refused_and_its_likely_zone_named(
    tmp_path: Path, offset: timedelta, lead: str
) -> None:
    now = NOON + timedelta(minutes=MINUTES, seconds=20)
    path = write(tmp_path, text_of(local("%Y-%m-%d %H:%M", offset)))
    with pytest.raises(BadInput, match=f"{lead}.*--timezone"):
        loaded(path, now=now)
    single = write(tmp_path, text_of(local("%Y-%m-%d %H:%M", offset).tail(1)), "latest.csv")
    with pytest.raises(BadInput, match=lead):
        loaded(single, now=now)


def test_times_with_an_offset_hours_ahead_are_rejected_and_their_likely_cause_named(tmp_path: Path) -> None:
    now = NOON + timedelta(minutes=MINUTES, seconds=20)
    path = write(tmp_path, text_of(BARS.assign(time=MILLISECONDS + int(IST.total_seconds() * 1_000))))
    rows, cleaned = loaded(path, now=now)
    assert cleaned.reasons == {NOT_OVER: MINUTES}
    assert "its newest row is 5 h 30 min ahead of now: local time of Asia/Kolkata?" in rows.taken_for


def test_hour_that_summer_time_repeats_is_rejected(tmp_path: Path) -> None:
    path = write(tmp_path, text_of(BARS.head(1).assign(time="2024-10-27 02:30")))
    assert len(loaded(path, Reading(timezone="Europe/Berlin"))[1].rejected) == 1


def test_change_of_level_at_the_end_is_named(tmp_path: Path) -> None:
    closes = [100.0] * 115 + [5.0] * 5
    cleaned = loaded(write(tmp_path, text_of(hand_made_bars(closes))))[1]
    assert cleaned.reasons == {NEW_LEVEL: 5}
    assert loaded(write(tmp_path, text_of(hand_made_bars(closes + [5.0] * 6))))[1].reasons == {}


@pytest.mark.parametrize("order", ["sorted", "newest first", "shuffled"])
def test_rows_cleaned_in_pieces_are_those_cleaned_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, order: str
) -> None:
    bars = simulated_bars(3_000)
    random = np.random.default_rng(5)
    bad = random.integers(0, len(bars), 60)
    bars.loc[bad, ["open", "high", "low", "close"]] *= 200.0
    bars = pd.concat([bars, bars.iloc[random.integers(0, len(bars), 40)].assign(volume=7.0)], ignore_index=True)
    bars = bars.sort_values("time", kind="stable", ascending=order != "newest first", ignore_index=True)
    bars = bars.sample(frac=1, random_state=2, ignore_index=True) if order == "shuffled" else bars
    at_once = clean_bars(bars)
    monkeypatch.setattr(bar_rows, "PIECE_ROWS", 128)
    monkeypatch.setattr(bar_rows, "SAMPLED_ROWS", 16)
    monkeypatch.setattr("hybrid_ml.market.text_files.BLOCK_BYTES", 4_096)
    pieces = list(load_rows(write(tmp_path, text_of(bars)), FileLimits()).cleaned())
    assert len(pieces) > 10
    pd.testing.assert_frame_equal(pd.concat([piece.bars for piece in pieces], ignore_index=True), at_once.bars)
    rejected = pd.concat([piece.rejected for piece in pieces]).sort_values("row")
    assert rejected["row"].tolist() == at_once.rejected["row"].tolist()
    assert rejected["reason"].tolist() == at_once.rejected["reason"].tolist()


def test_stored_neighbours_judge_a_price_alone_in_its_file(tmp_path: Path) -> None:
    path = write(tmp_path, text_of(hand_made_bars([10_000.0], start=datetime(2024, 3, 5, 12, 20, tzinfo=UTC))))
    stored = hand_made_bars([100.0] * 20)
    pieces = list(load_rows(path, FileLimits()).cleaned(stored))
    assert [len(piece.bars) for piece in pieces] == [0, 0]
    assert sum(len(piece.rejected) for piece in pieces) == 1
