"""Where bars come from besides the database: a CSV or Parquet file."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd

from hybrid_ml.errors import BadInput
from hybrid_ml.market.bars import CleanBars, clean_bars, printable

TIME_NAMES = ("time", "timestamp", "datetime", "date", "open_time")


def read_bar_file(path: Path | None) -> CleanBars:
    """Read and clean a file of one-minute bars; its kind is told by the ending (.parquet, else CSV).

    Column names may be in any case; the time column may be called any of TIME_NAMES. Raises
    BadInput when there is no such file, nothing in it, or it cannot be read as what it claims.
    """
    if path is None or not path.is_file():
        raise BadInput(f"--csv_path {path}: no such file; give the path of a CSV or Parquet file of bars")
    ragged: list[str] = []
    try:
        raw = pd.read_parquet(path) if path.suffix.lower() in (".parquet", ".pq") else _read_csv(path, ragged)
    except Exception as error:  # a damaged file or archive raises whatever its own reader knows
        raise BadInput(f"--csv_path {path}: cannot be read ({_first_line(error)}); expected CSV or Parquet") from error
    if raw.empty:
        found = f"{len(ragged):,} rows, none with as many fields as the header" if ragged else "no rows"
        raise BadInput(f"--csv_path {path}: the file holds {found}; expected one bar a row")
    try:
        return _with_ragged(clean_bars(_with_known_names(raw)), ragged)
    except BadInput as error:
        raise BadInput(f"--csv_path {path}: {error}") from None


def _read_csv(path: Path, ragged: list[str]) -> pd.DataFrame:
    """Columns keep the type they have; a column with one word in it stays text and is judged row by row.

    Rows with more or fewer fields than the header, such as a last line cut off, go to `ragged`.
    """

    def set_aside(row: Any) -> str:
        ragged.append(row.text)
        return "skip"

    raw = pd.read_csv(path, engine="pyarrow", on_bad_lines=set_aside)  # type: ignore[call-overload]  # pyarrow's own
    for column in raw.columns[[dtype.kind == "O" for dtype in raw.dtypes]]:
        # Text that is not UTF-8 comes back as bytes.
        raw[column] = [value.decode(errors="replace") if isinstance(value, bytes) else value for value in raw[column]]
    return raw


def _with_ragged(cleaned: CleanBars, ragged: list[str]) -> CleanBars:
    """The ragged rows set aside as well, numbered -1, -2, …: the reader does not say where they stood."""
    if not ragged:
        return cleaned
    reason = "more or fewer fields than the header"
    rows = [{"row": -number, "reason": reason, "raw": printable(text)} for number, text in enumerate(ragged, start=1)]
    return replace(cleaned, set_aside=pd.concat([cleaned.set_aside, pd.DataFrame(rows)], ignore_index=True))


def _with_known_names(raw: pd.DataFrame) -> pd.DataFrame:
    if isinstance(raw.index, pd.DatetimeIndex):
        raw = raw.rename_axis("time").reset_index()
    named = raw.rename(columns=lambda name: str(name).strip().lower())
    for candidate in TIME_NAMES:
        if candidate in named.columns and "time" not in named.columns:
            named = named.rename(columns={candidate: "time"})
    return named.loc[:, ~named.columns.duplicated()].reset_index(drop=True)


def _first_line(error: BaseException) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
