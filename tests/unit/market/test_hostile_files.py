"""Files without bars, or too large: refused early, without repeating their content."""

import bz2
import gzip
import io
import lzma
import sys
import zipfile
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from hybrid_ml.errors import BadInput
from hybrid_ml.market import bars as bars_module
from hybrid_ml.market import file_limits
from hybrid_ml.market.file_limits import FileLimits
from hybrid_ml.market.sources import read_bar_file
from tests.conftest import ROOT
from tests.faults.table import FaultRows
from tests.peak import run_measured
from tests.simulated import simulated_bars

HEADER = b"time,open,high,low,close,volume\n"
SECRET = "S3cretS3cret"
PEAK_BYTES = 300 * 2**20
"""Limit for a process with pandas and pyarrow (180 MB) that reads 16 MB of an archive; without a limit it took 2 GB."""


@pytest.fixture
def faults(request: pytest.FixtureRequest) -> FaultRows:
    return FaultRows(request.node)


def refusal(path: Path, limits: FileLimits = FileLimits()) -> str:  # noqa: B008  # frozen
    with pytest.raises(BadInput) as raised:
        read_bar_file(path, limits)
    assert "\n" not in str(raised.value)
    return str(raised.value)


@pytest.mark.parametrize(
    "content",
    [
        f"root:{SECRET}:20000:0:99999:7:::\ndaemon:*:20000::::::\n",
        f"TELEGRAM_BOT_TOKEN={SECRET},{SECRET}\nA=b,c,d,{SECRET}\n",
        f"{SECRET},open\n1,2,3,{SECRET}\n",
        f'"{SECRET}\n{SECRET}"\n',
        f"\n\n{SECRET}",
        SECRET * 10_000,
    ],
)
@pytest.mark.parametrize("name", ["bars.csv", "shadow", ".env", "bars.parquet", "bars.csv.gz", "bars.zip"])
def test_error_of_a_file_without_bars_does_not_repeat_its_content(tmp_path: Path, name: str, content: str) -> None:
    path = tmp_path / name
    path.write_text(content)
    assert SECRET not in refusal(path)
    with gzip.open(tmp_path / "in.csv.gz", "wt") as file:
        file.write(content)
    assert SECRET not in refusal(tmp_path / "in.csv.gz")


def test_long_column_names_are_shortened_in_the_error(tmp_path: Path) -> None:
    path = tmp_path / "bars.csv"
    path.write_text(f"time,open,high,{'x' * 500}\n1,2,3,4\n")
    text = refusal(path)
    assert "columns low, close, volume are missing (found: time, open, high, x" in text
    assert len(text) < 400 + len(str(path))


def test_stored_text_of_a_rejected_row_is_limited(tmp_path: Path) -> None:
    path = tmp_path / "bars.csv"
    path.write_bytes(HEADER + b"x" * 5_000 + b",1,1,1,1,1\n" + b"1," * 5_000 + b"\n")
    assert read_bar_file(path).rejected["raw"].str.len().max() <= 500


def compressed(folder: Path, kind: str, content: bytes) -> Path:
    path = folder / f"bars.csv.{kind}"
    if kind == "zip":
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
            archive.writestr("bars.csv", content)
    else:
        path.write_bytes({"gz": gzip.compress, "bz2": bz2.compress, "xz": lzma.compress}[kind](content))
    return path


@pytest.mark.parametrize("kind", ["gz", "bz2", "xz", "zip"])
def test_archives_are_read_up_to_the_expansion_limit(
    tmp_path: Path, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(file_limits, "EXPANSION_FREE_BYTES", 100_000)
    bars = simulated_bars(300)
    text = io.StringIO()
    bars.to_csv(text, index=False)
    pd.testing.assert_frame_equal(read_bar_file(compressed(tmp_path, kind, text.getvalue().encode())).bars, bars)
    message = refusal(compressed(tmp_path, kind, HEADER + b"1,1,1,1,1,1\n" * 60_000))
    assert "expands to more than 100 times its size" in message


@pytest.mark.parametrize(
    "row, reason",
    [
        (b"1527811200,1,1,1,1,1\n", "expands to more than 100 times its size"),
        (b"x,1,1,1,1,1\n", "with more than 250,000 this is no file of one-minute bars"),
    ],
)
def test_decompression_bomb_is_refused_with_limited_memory(
    tmp_path: Path, faults: FaultRows, row: bytes, reason: str
) -> None:
    path = tmp_path / "bars.csv.gz"
    with gzip.open(path, "wb") as file:
        file.write(HEADER)
        for _ in range(105):
            file.write(row * (2**20 // len(row)))
    assert path.stat().st_size < 350_000
    program = (
        "import sys; from pathlib import Path; from hybrid_ml.market.sources import read_bar_file; "
        "from hybrid_ml.errors import BadInput\n"
        "try: read_bar_file(Path(sys.argv[1]))\nexcept BadInput as error: print(error)"
    )
    done = run_measured([sys.executable, "-c", program, path], cwd=ROOT)
    assert reason in done.stdout, done.stderr
    assert done.stdout.count("\n") == 1
    assert done.peak_bytes < PEAK_BYTES
    faults.add(
        f"`--csv_path` of {path.stat().st_size / 1000:.0f} kB that expands to 110 MB",
        f"refused in one line, {done.peak_bytes / 2**20:.0f} MB at most",
        done.seconds,
    )


def test_bytes_rows_and_columns_are_limited(tmp_path: Path) -> None:
    small = FileLimits(1)
    path = tmp_path / "bars.csv"
    path.write_bytes(HEADER + b"1527811200,1,1,1,1,1\n" * 60_000)
    assert "more than 1 MB (limit HYBRID_ML_MAX_FILE_MB)" in refusal(path, small)
    path.write_bytes(HEADER + b"1527811200,1,1,1,1,1\n" * 20_000)
    assert "more than 10,000 rows (limit HYBRID_ML_MAX_FILE_MB)" in refusal(path, small)
    path.write_bytes(HEADER[:-1] + b",x" * 2_000 + b"\n")
    assert "2,006 columns" in refusal(path)
    path.write_bytes(HEADER[:-1] + b",x" * 100_000 + b"\n")
    assert "its first line is longer than" in refusal(path)
    path.write_bytes(HEADER + b"1527811200,1,1,1,1," + b"1" * 3_000_000 + b"\n")
    assert "cannot be read" in refusal(path)


def test_file_with_too_many_bad_rows_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bars_module, "MOST_SET_ASIDE", 100)
    path = tmp_path / "bars.csv"
    path.write_bytes(HEADER + b"x,1,1,1,1,1\n" * 101)
    assert "101 of 101 rows cannot be used (101 because time is not" in refusal(path)


@pytest.mark.parametrize(
    ("columns", "text"),
    [
        ({"time": pa.array([0] * 2_000_000)}, "more than 10,000 rows"),
        ({"time": pa.array(["x" * 5_000] * 100)}, "contains a text of 5,000 bytes"),
        ({"time": pa.array([[1, 2]] * 100)}, "contains lists or records"),
        ({"time": None}, "columns time are missing"),
    ],
)
def test_parquet_files_have_the_same_limits(tmp_path: Path, columns: dict[str, pa.Array], text: str) -> None:
    count = len(columns["time"] or [0])
    values = {name: pa.array(np.ones(count)) for name in ("open", "high", "low", "close", "volume")}
    path = tmp_path / "bars.parquet"
    pq.write_table(pa.table({name: one for name, one in {**columns, **values}.items() if one is not None}), path)
    assert text in refusal(path, FileLimits(1))


def test_text_and_categories_in_parquet_are_accepted(tmp_path: Path) -> None:
    bars = simulated_bars(300)
    path = tmp_path / "bars.parquet"
    bars.assign(time=bars["time"].astype(str).astype("category"), open=bars["open"].astype(str)).to_parquet(path)
    pd.testing.assert_frame_equal(read_bar_file(path).bars, bars)


@settings(max_examples=60, derandomize=True, deadline=None)
@given(st.binary(max_size=300), st.sampled_from(["csv", "csv.gz", "zip", "parquet", "csv.xz"]), st.booleans())
@example(b"\xff\xfe\x00", "csv", True)
def test_arbitrary_content_gives_bars_or_a_one_line_error(
    tmp_path_factory: pytest.TempPathFactory, content: bytes, kind: str, with_header: bool
) -> None:
    path = tmp_path_factory.getbasetemp() / f"any.{kind}"
    path.write_bytes((HEADER if with_header else b"") + content)
    try:
        read_bar_file(path)
    except BadInput as error:
        assert "\n" not in str(error)
