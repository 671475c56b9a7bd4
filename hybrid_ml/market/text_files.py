"""Reading bars from CSV and JSON lines, batch by batch, every value as text."""

import io
import json
import sys
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import Any

import pyarrow as pa
from pandas.io.common import get_handle  # type: ignore[import-not-found]  # the stubs leave it out
from pyarrow import csv

from hybrid_ml.errors import BadInput
from hybrid_ml.market import file_formats
from hybrid_ml.market.file_formats import FileFormat, table_positions
from hybrid_ml.market.file_limits import LONGEST_HEADER_BYTES, FileLimits, LimitedStream
from hybrid_ml.market.parquet import Columns

STANDARD_INPUT = Path("-")
BLOCK_BYTES = 1 << 20
JSON_ROWS = 10_000


@contextmanager
def open_text(path: Path, limits: FileLimits) -> Iterator["io.BufferedReader[LimitedStream]"]:
    """The expanded content of `path` within `limits`; `-` is standard input."""
    if path == STANDARD_INPUT:
        yield io.BufferedReader(LimitedStream(sys.stdin.buffer, limits, limits.max_bytes), LONGEST_HEADER_BYTES)
        return
    if path.suffix.lower() == ".zip":
        with zipfile.ZipFile(path) as archive:
            names = [name for name in archive.namelist() if not name.endswith("/")]
        if len(names) != 1:
            raise BadInput(f"the archive contains {len(names):,} files; extract that of this symbol and load it")
    with get_handle(path, "rb", is_text=False, compression="infer") as handle:
        yield io.BufferedReader(LimitedStream(handle.handle, limits, path.stat().st_size), LONGEST_HEADER_BYTES)


def csv_batches(
    stream: "io.BufferedReader[LimitedStream]", found: FileFormat, reject: Callable[[str], None]
) -> Iterator[Columns]:
    """The columns of bars of a CSV of the format `found`; rows with more or fewer fields go to `reject`."""

    def skip(row: Any) -> str:
        reject(row.text)
        return "skip"

    names = [f"column {position}" for position in range(found.width)]
    wanted = {column: names[position] for column, position in found.positions.items()}
    parse = csv.ParseOptions(delimiter=found.delimiter, invalid_row_handler=skip)
    convert = csv.ConvertOptions(include_columns=list(wanted.values()), column_types=dict.fromkeys(names, pa.string()))
    lines_above = found.lines_above
    # Block by block: given the whole stream, the reader holds 32 blocks that it has read ahead.
    for block in _blocks(stream):
        read = csv.ReadOptions(use_threads=False, block_size=len(block), skip_rows=lines_above, column_names=names)
        for batch in csv.open_csv(pa.BufferReader(block), read, parse, convert):
            yield {column: batch.column(name) for column, name in wanted.items()}
        lines_above = 0


def _blocks(stream: "io.BufferedReader[LimitedStream]") -> Iterator[bytes]:
    """The rest of `stream` in blocks of whole lines; raises BadInput for a line that is longer than a block."""
    rest = b""
    while data := stream.read(BLOCK_BYTES):
        text = rest + data
        end = max(text.rfind(b"\n"), text.rfind(b"\r")) + 1
        rest = text[end:]
        if len(rest) > BLOCK_BYTES:
            raise BadInput(f"cannot be read (one of its lines is longer than {BLOCK_BYTES:,} bytes)")
        if end:
            yield text[:end]
    if rest:
        yield rest


def json_batches(stream: "io.BufferedReader[LimitedStream]", reject: Callable[[str], None]) -> Iterator[Columns]:
    """The columns of bars of JSON lines, an object with the names of a header in each; other lines go to `reject`."""
    lines = iter(lambda: stream.readline(LONGEST_HEADER_BYTES), b"")
    positions: dict[str, str] = {}
    while some := list(islice(lines, JSON_ROWS)):
        rows = [row for row in (_json_row(line, reject) for line in some if line.strip()) if row is not None]
        if rows and not positions:
            names = list(rows[0])
            positions = {column: names[at] for column, at in table_positions(names).items()}
        yield {
            column: pa.array([_plain_text(row.get(name)) for row in rows], pa.string())
            for column, name in positions.items()
        }


def _json_row(line: bytes, reject: Callable[[str], None]) -> dict[str, Any] | None:
    try:
        row = json.loads(line)
    except (ValueError, RecursionError):
        row = None
    if isinstance(row, dict):
        return row
    reject(line[: file_formats.MOST_COLUMNS].decode(errors="replace"))
    return None


def _plain_text(value: Any) -> str:
    """`value` as text that can be stored; half of a surrogate pair cannot."""
    return "" if value is None else str(value).encode(errors="replace").decode()
