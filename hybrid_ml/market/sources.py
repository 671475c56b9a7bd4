"""Reading bars from files: CSV, JSON lines, Parquet and Feather, also packed, in folders, and from standard input."""

import glob
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from hybrid_ml.errors import BadInput
from hybrid_ml.market.bar_rows import ROW, BarRows, describe_lead, refuse_local_time, refuse_longer_bars
from hybrid_ml.market.bars import (
    BAR_COLUMNS,
    NO_TIME,
    NOT_OVER,
    PRICE_COLUMNS,
    VALUE_COLUMNS,
    CleanBars,
    printable,
    row_reasons,
)
from hybrid_ml.market.file_formats import Reading, recognise
from hybrid_ml.market.file_limits import FileLimits, read_head
from hybrid_ml.market.file_times import TimeReader
from hybrid_ml.market.parquet import Columns, feather_batches, parquet_batches
from hybrid_ml.market.text_files import STANDARD_INPUT, csv_batches, json_batches, open_text
from hybrid_ml.text.counts import counted

RAGGED = "more or fewer fields than the header"
COLUMNAR = {".parquet": parquet_batches, ".pq": parquet_batches, ".feather": feather_batches, ".arrow": feather_batches}
PACKED = {".gz", ".bz2", ".xz", ".zip", ".zst"}
OF_BARS = {*COLUMNAR, *PACKED, ".csv", ".txt", ".json", ".jsonl", ".ndjson"}
"""Endings of the files that are read in a folder."""
NO_VOLUME = ["", "nan", "null", "none", "-"]
AS_RECOGNISED = Reading()


def bar_files(path: Path | None) -> list[Path]:
    """The files that `path` (a file, a folder, a pattern such as data/*.zip, or `-`) stands for, by their names.

    Raises BadInput where there is none.
    """
    if path is None or path == STANDARD_INPUT or path.is_file():
        return [path] if path else []
    if path.is_dir():
        found = [file for file in path.iterdir() if file.suffix.lower() in OF_BARS and not file.name.startswith(".")]
    else:
        found = [Path(name) for name in glob.glob(str(path), recursive=True)]  # noqa: PTH207  # it may be absolute
    files = sorted(file for file in found if file.is_file())
    if not files:
        raise BadInput(
            f"--csv_path {path}: no such file; give a file of bars, a folder or a pattern such as 'data/*.zip'"
        )
    return files


def read_bar_file(
    path: Path | None,
    limits: FileLimits = FileLimits(),  # noqa: B008  # frozen
    reading: Reading = AS_RECOGNISED,
    now: datetime | None = None,
) -> CleanBars:
    """All bars of `load_rows` at once."""
    pieces = list(load_rows(path, limits, reading, now).cleaned())
    kinds: list[str] = ["bars", "rejected"]
    frames = [pd.concat([getattr(piece, kind) for piece in pieces], ignore_index=True) for kind in kinds]
    return CleanBars(*frames)


def load_rows(
    path: Path | None, limits: FileLimits, reading: Reading = AS_RECOGNISED, now: datetime | None = None
) -> BarRows:
    """Read one-minute bars: Parquet and Feather by their ending, else CSV or JSON lines, recognised by their look.

    A bar whose minute is not over at `now` is rejected. Raises BadInput for a file that is missing, empty, beyond
    `limits`, or not of its stated kind. A file that is no table of bars is not quoted, since it may contain secrets.
    """
    files = bar_files(path)
    if not files:
        raise BadInput("--csv_path: no such file; give the path of a file of bars")
    rows = BarRows()
    for file in files:
        where = source_name(file) if file == STANDARD_INPUT else f"--csv_path {file}"
        try:
            _FileReader(file, rows, reading, now).read(limits)
        except BadInput as error:
            raise BadInput(f"{where}: {error}") from None
        except Exception as error:  # a damaged file or archive raises any error of its reader, which may quote it
            kind = type(error).__name__
            expected = "CSV or JSON lines" if file == STANDARD_INPUT else "CSV or Parquet"
            raise BadInput(f"{where}: cannot be read ({kind}); expected {expected}") from None
    _give_back_memory()
    return rows


def _give_back_memory() -> None:
    """Return what was freed after the last batch to the system: two allocators keep it, and nothing here uses it again.

    The system pool stands for malloc, with which numpy and Python allocate too.
    """
    for pool in (pa.default_memory_pool(), pa.system_memory_pool()):
        pool.release_unused()


def source_name(path: Path | None) -> str:
    """The name of a file of bars in messages and reports."""
    return "standard input" if path == STANDARD_INPUT else str(path)


class _FileReader:
    """Brings the rows of one file into BarRows."""

    def __init__(self, path: Path, rows: BarRows, reading: Reading, now: datetime | None) -> None:
        self._path, self._rows, self._reading, self._now = path, rows, reading, now
        self._number, self._ragged, self._count = len(rows.sources), 0, 0
        self._times = TimeReader(reading.time_format, reading.timezone)
        self._decimal_comma = False
        self._has_volume: bool | None = None
        self._ahead: list[NDArray[np.int64]] = []
        rows.sources.append(source_name(path))

    def read(self, limits: FileLimits) -> None:
        ending = self._path.suffix.lower()
        if ending in COLUMNAR:
            name = "Parquet" if COLUMNAR[ending] is parquet_batches else "Feather"
            self._take_all(COLUMNAR[ending](self._path, limits))
        else:
            name = self._read_text(limits)
        if not self._count:
            ragged = f"{counted(self._ragged, 'row')}, none with as many fields as the header"
            raise BadInput(
                f"the file contains {ragged if self._ragged else 'no rows'}; expected one bar in each row"
            )  # fmt: skip
        lead = self._lead()
        volume = "" if self._has_volume else "; no volume, stored as 0"
        rows = counted(self._count + self._ragged, "row")
        self._rows.descriptions.append(f"{name}; {self._times.description}{volume}; {rows}{lead}")

    def _lead(self) -> str:
        """How far the file lies ahead of now; raises BadInput where its times seem to be local ones, taken as UTC."""
        if self._now is None:
            return ""
        ahead = np.concatenate(self._ahead)
        if self._times.without_offset and self._reading.timezone is None:
            refuse_local_time(ahead, self._count, self._now)
        lead = describe_lead(ahead, self._now)
        return f"; its newest row is {lead}" if lead else ""

    def _read_text(self, limits: FileLimits) -> str:
        with open_text(self._path, limits) as stream:
            lines = read_head(stream, is_file=self._path != STANDARD_INPUT)
            if next(line for line in lines if line.strip()).lstrip().startswith("{"):
                self._take_all(json_batches(stream, self._reject_ragged))
                return "JSON lines"
            found = recognise(lines, self._reading.columns)
            self._decimal_comma = found.delimiter != ","
            if found.zone and self._reading.timezone is None:
                self._times = TimeReader(self._reading.time_format, found.zone)
            self._take_all(csv_batches(stream, found, self._reject_ragged))
            return found.name

    def _reject_ragged(self, text: str) -> None:
        """Ragged rows are numbered -1, -2, …, since the reader does not return their position."""
        self._ragged += 1
        self._rows.reject([(source_name(self._path), -self._ragged, RAGGED, printable(text), NO_TIME)])

    def _take_all(self, batches: Iterator[Columns]) -> None:
        for batch in batches:
            if batch and len(batch["time"]):
                self._take(batch)

    def _take(self, batch: Columns) -> None:
        moments = batch["time"]
        if "date" in batch:
            moments = pc.binary_join_element_wise(_as_text(batch["date"]), _as_text(moments), " ")
        times, values = self._times.read(moments), self._values(batch)
        reasons = row_reasons(times, values, self._now)
        if not self._count:
            refuse_longer_bars(times[times != NO_TIME])
        self._ahead.append(times[reasons == NOT_OVER])
        first = self._count + 1
        self._count += len(times)
        bad = np.flatnonzero(pd.notna(reasons))
        columns = [batch[name] for name in ("date", *BAR_COLUMNS) if name in batch]
        self._rows.reject(
            [
                (source_name(self._path), first + int(at), reasons[at], _row_text(columns, int(at)), int(times[at]))
                for at in bad
            ]
        )  # fmt: skip
        rows = np.zeros(len(times), dtype=ROW)
        rows["time"], rows["row"], rows["file"] = times, first + np.arange(len(times)), self._number
        for position, column in enumerate(VALUE_COLUMNS):
            rows[column] = values[:, position]
        self._rows.add(rows[pd.isna(reasons)])

    def _values(self, batch: Columns) -> NDArray[np.float64]:
        """A column for each of VALUE_COLUMNS; a volume that the file does not have is 0."""
        volume = np.zeros(len(batch["time"]))
        if "volume" in batch:
            blank = _is_blank(batch["volume"])
            if self._has_volume is None:
                self._has_volume = not blank.all()
            volume = _numbers(batch["volume"], self._decimal_comma)
            if not self._has_volume:
                volume = np.where(blank, 0.0, volume)
        prices = [_numbers(batch[column], self._decimal_comma) for column in PRICE_COLUMNS]
        return np.column_stack([*prices, volume])


def _is_blank(values: pa.Array) -> NDArray[np.bool_]:
    if pa.types.is_floating(values.type) or pa.types.is_integer(values.type):
        return pc.is_null(values, nan_is_null=True).to_numpy(zero_copy_only=False)
    text = pc.utf8_lower(pc.utf8_trim_whitespace(_as_text(values)))
    return pc.is_in(pc.fill_null(text, ""), pa.array(NO_VOLUME)).to_numpy(zero_copy_only=False)


def _numbers(values: pa.Array, decimal_comma: bool) -> NDArray[np.float64]:
    """NaN for what is no number."""
    if not _is_text(values):
        try:
            return values.cast(pa.float64(), safe=False).to_numpy(zero_copy_only=False)
        except (pa.ArrowInvalid, pa.ArrowNotImplementedError):
            values = _as_text(values)
    text = pc.utf8_trim_whitespace(_as_text(values))
    if decimal_comma:
        text = pc.replace_substring(text, ",", ".")
    try:
        return text.cast(pa.float64()).to_numpy(zero_copy_only=False)
    except pa.ArrowInvalid:
        return pd.to_numeric(text.to_pandas(), errors="coerce").to_numpy(dtype=np.float64, na_value=np.nan)


def _is_text(values: pa.Array) -> bool:
    return any(test(values.type) for test in (pa.types.is_string, pa.types.is_large_string, pa.types.is_binary))


def _as_text(values: pa.Array) -> pa.Array:
    try:
        return values.cast(pa.string())
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError):
        return pa.array([str(value) for value in values.to_pylist()], pa.string())


def _row_text(columns: list[pa.Array], at: int) -> str:
    return printable(" ".join(str(column[at].as_py()) for column in columns))
