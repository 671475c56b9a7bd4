"""Where bars come from besides the database: a CSV or Parquet file."""

from pathlib import Path

import pandas as pd

from hybrid_ml.errors import BadInput
from hybrid_ml.market.bars import CleanBars, clean_bars

TIME_NAMES = ("time", "timestamp", "datetime", "date", "open_time")


def read_bar_file(path: Path | None) -> CleanBars:
    """Read and clean a file of one-minute bars; its kind is told by the ending (.parquet, else CSV).

    Column names may be in any case; the time column may be called any of TIME_NAMES. Raises
    BadInput when there is no such file, nothing in it, or it cannot be read as what it claims.
    """
    if path is None or not path.is_file():
        raise BadInput(f"--csv_path {path}: no such file; give the path of a CSV or Parquet file of bars")
    try:
        raw = pd.read_parquet(path) if path.suffix.lower() in (".parquet", ".pq") else _read_csv(path)
    except Exception as error:  # a damaged file or archive raises whatever its own reader knows
        raise BadInput(f"--csv_path {path}: cannot be read ({_first_line(error)}); expected CSV or Parquet") from error
    if raw.empty:
        raise BadInput(f"--csv_path {path}: the file holds no rows; expected one bar a row")
    try:
        return clean_bars(_with_known_names(raw))
    except BadInput as error:
        raise BadInput(f"--csv_path {path}: {error}") from None


def _read_csv(path: Path) -> pd.DataFrame:
    """Columns keep the type they have; a column with one word in it stays text and is judged row by row."""
    raw = pd.read_csv(path, engine="pyarrow")
    for column in raw.columns[[dtype.kind == "O" for dtype in raw.dtypes]]:
        # Text that is not UTF-8 comes back as bytes.
        raw[column] = [value.decode(errors="replace") if isinstance(value, bytes) else value for value in raw[column]]
    return raw


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
