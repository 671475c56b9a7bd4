"""Where bars come from besides the database: a CSV or Parquet file."""

import io
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd
from pandas.io.common import get_handle  # type: ignore[import-not-found]  # the stubs leave it out

from hybrid_ml.errors import BadInput
from hybrid_ml.market.bars import MOST_SET_ASIDE, CleanBars, clean_bars, printable
from hybrid_ml.market.file_limits import TIME_NAMES, FileLimits, LimitedStream, known_names, read_header
from hybrid_ml.market.parquet import read_parquet
from hybrid_ml.text.counts import counted

RAGGED = "more or fewer fields than the header"


def read_bar_file(path: Path | None, limits: FileLimits = FileLimits()) -> CleanBars:  # noqa: B008  # frozen
    """Read and clean a file of one-minute bars; its kind is told by the ending (.parquet, else CSV).

    Column names may be in any case; the time column may be called any of TIME_NAMES. An archive is expanded as it is
    read. Raises BadInput when there is no such file, nothing in it, more than `limits`, or it cannot be read as what it
    claims. Nothing is quoted of a file that is no table of bars: it may be anything, a file of passwords too.
    """
    if path is None or not path.is_file():
        raise BadInput(f"--csv_path {path}: no such file; give the path of a CSV or Parquet file of bars")
    ragged: list[str] = []
    try:
        is_parquet = path.suffix.lower() in (".parquet", ".pq")
        raw = read_parquet(path, limits) if is_parquet else _read_csv(path, limits, ragged)
        if raw.empty:
            message = f"{counted(len(ragged), 'row')}, none with as many fields as the header" if ragged else "no rows"
            raise BadInput(f"the file holds {message}; expected one bar a row")
        return _with_ragged(clean_bars(_with_known_names(raw)), ragged)
    except BadInput as error:
        raise BadInput(f"--csv_path {path}: {error}") from None
    except Exception as error:  # a damaged file or archive raises whatever its own reader knows, and may quote it
        kind = type(error).__name__
        raise BadInput(f"--csv_path {path}: cannot be read ({kind}); expected CSV or Parquet") from None


def _read_csv(path: Path, limits: FileLimits, ragged: list[str]) -> pd.DataFrame:
    """Columns keep the type they have; a column with one word in it stays text and is judged row by row.

    Rows with more or fewer fields than the header, such as a last line cut off, go to `ragged`.
    """

    def set_aside(row: Any) -> str:
        if len(ragged) <= MOST_SET_ASIDE:  # one more, to be refused for
            ragged.append(printable(row.text))
        return "skip"

    with get_handle(path, "rb", is_text=False, compression="infer") as handle:
        stream = io.BufferedReader(LimitedStream(handle.handle, limits, path.stat().st_size), buffer_size=1 << 16)
        names = read_header(stream)
        # Of columns that no bar has nothing is kept; two of the same name the reader cannot tell apart.
        wanted = known_names(names) if len(set(names)) == len(names) else None
        raw = pd.read_csv(stream, engine="pyarrow", usecols=wanted, on_bad_lines=set_aside)  # type: ignore[call-overload]
    if len(ragged) > MOST_SET_ASIDE:
        raise BadInput(f"more than {MOST_SET_ASIDE:,} rows have {RAGGED}; this is no file of bars")
    for column in raw.columns[[dtype.kind == "O" for dtype in raw.dtypes]]:
        # Text that is not UTF-8 comes back as bytes.
        raw[column] = [value.decode(errors="replace") if isinstance(value, bytes) else value for value in raw[column]]
    return raw


def _with_ragged(cleaned: CleanBars, ragged: list[str]) -> CleanBars:
    """The ragged rows set aside as well, numbered -1, -2, …: the reader does not say where they stood."""
    if not ragged:
        return cleaned
    rows = [{"row": -number, "reason": RAGGED, "raw": text} for number, text in enumerate(ragged, start=1)]
    return replace(cleaned, set_aside=pd.concat([cleaned.set_aside, pd.DataFrame(rows)], ignore_index=True))


def _with_known_names(raw: pd.DataFrame) -> pd.DataFrame:
    if isinstance(raw.index, pd.DatetimeIndex):
        raw = raw.rename_axis("time").reset_index()
    named = raw.rename(columns=lambda name: str(name).strip().lower())
    for candidate in TIME_NAMES:
        if candidate in named.columns and "time" not in named.columns:
            named = named.rename(columns={candidate: "time"})
    return named.loc[:, ~named.columns.duplicated()].reset_index(drop=True)
