"""What reading a file of bars holds in memory does not grow with the file."""

import io
import tracemalloc
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from hybrid_ml.errors import BadInput
from hybrid_ml.market import bar_rows, text_files
from hybrid_ml.market.bar_rows import ROW, BarRows
from hybrid_ml.market.bars import MINUTE_MICROSECONDS
from hybrid_ml.market.file_formats import recognise
from hybrid_ml.market.file_limits import FileLimits
from hybrid_ml.market.sources import load_rows
from hybrid_ml.market.text_files import csv_batches
from tests.simulated import simulated_bars

HEADER = "time,open,high,low,close,volume"


def test_csv_is_read_one_block_ahead_at_most(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(text_files, "BLOCK_BYTES", 4_096)
    lines = [f"{1_700_000_000 + 60 * number},1,1,1,1,1" for number in range(10_000)]
    stream = io.BytesIO("\n".join([HEADER, *lines]).encode())
    batches = csv_batches(stream, recognise([HEADER, lines[0]]), pytest.fail)  # type: ignore[arg-type]
    rows = len(next(batches)["time"])
    assert stream.tell() == 4_096
    assert rows + sum(len(batch["time"]) for batch in batches) == len(lines)


def test_line_beyond_a_block_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(text_files, "BLOCK_BYTES", 4_096)
    path = tmp_path / "bars.csv"
    path.write_text(f"{HEADER}\n1700000000,1,1,1,1,1\n{'1' * 10_000},1,1,1,1,1\n")
    with pytest.raises(BadInput, match="one of its lines is longer than 4,096 bytes"):
        load_rows(path, FileLimits())


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_every_line_comes_once_wherever_a_block_ends(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, end: str) -> None:
    path = tmp_path / "bars.csv"
    lines = [f"{1_700_000_040 + 60 * number},1,1,1,1,{number}" for number in range(200)]
    path.write_bytes(end.join([HEADER, *lines]).encode())
    for size in range(100, 132):
        monkeypatch.setattr(text_files, "BLOCK_BYTES", size)
        pieces = list(load_rows(path, FileLimits()).cleaned())
        assert pd.concat([piece.bars for piece in pieces])["volume"].tolist() == list(range(200))


def test_rows_on_their_way_take_less_than_a_byte_each() -> None:
    count, part = 400_000, 20_000
    tracemalloc.start()
    try:
        kept = BarRows()
        for first in range(0, count, part):
            rows = np.zeros(part, dtype=ROW)
            rows["time"] = (28_000_000 + first + np.arange(part)) * MINUTE_MICROSECONDS
            kept.add(rows)
        del rows
        assert tracemalloc.get_traced_memory()[0] < count
    finally:
        tracemalloc.stop()


def test_stored_bars_of_the_same_minutes_are_not_compared_with(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bar_rows, "PIECE_ROWS", 128)
    monkeypatch.setattr(bar_rows, "SAMPLED_ROWS", 16)
    monkeypatch.setattr(text_files, "BLOCK_BYTES", 4_096)
    bars, path = simulated_bars(1_000), tmp_path / "bars.csv"
    bars.sample(frac=1, random_state=3).to_csv(path, index=False)
    stored = bars.assign(open=5_000.0, high=5_000.0, low=5_000.0, close=5_000.0)
    pieces = list(load_rows(path, FileLimits()).cleaned(stored))
    assert len(pieces) > 5
    assert sum(len(piece.rejected) for piece in pieces) == 0
    pd.testing.assert_frame_equal(pd.concat([piece.bars for piece in pieces], ignore_index=True), bars)
