"""One-minute bars: the contract, cleaning, the grid, freshness.

A bar is stamped with the time its minute opens, in UTC. `time`, `open`, `high`, `low`, `close`
(quote currency, > 0) and `volume` (base units, >= 0) are all a bar has; it counts once its minute
is over.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from hybrid_ml.errors import BadInput
from hybrid_ml.text.counts import counted

PRICE_COLUMNS = ["open", "high", "low", "close"]
VALUE_COLUMNS = [*PRICE_COLUMNS, "volume"]
BAR_COLUMNS = ["time", *VALUE_COLUMNS]
BAR_LENGTH = timedelta(minutes=1)
MAX_GAP_MINUTES = 30
"""Longest gap that is filled by carrying the last close; a longer one ends the session."""
EARLIEST, LATEST = pd.Timestamp("1980-01-01", tz="UTC"), pd.Timestamp("2200-01-01", tz="UTC")
"""No one-minute bar lies outside; a time that does is a wrong unit or a slip."""
UNIX_SECONDS_OF_1973 = 1e8
"""1973 in Unix seconds: what exceeds a thousand (a million, a billion) times this counts in ms (us, ns)."""
LARGEST_MICROSECONDS = 2.5e17
ABSURD_PRICE_RATIO = 10.0
"""A bar further than this factor from the median of its neighbours is a typing error, not a market."""
ABSURD_PRICE_NEIGHBOURS = 21
MOST_SET_ASIDE, LONGEST_SET_ASIDE = 250_000, 500
"""Rows of a file that may be set aside, and characters that are kept of each: with more it is no file of bars."""


@dataclass(frozen=True)
class CleanBars:
    """Bars that can be used, and the rows that cannot.

    `bars`: BAR_COLUMNS, `time` datetime64[us, UTC] ascending and unique, values float64.
    `set_aside`: columns row (position in the input, from 1; negative where it is not known), reason,
    raw (the row as text).
    """

    bars: pd.DataFrame
    set_aside: pd.DataFrame

    @property
    def reasons(self) -> dict[str, int]:
        """How many rows were set aside for each reason, the most frequent first."""
        return {str(reason): int(count) for reason, count in self.set_aside["reason"].value_counts().items()}


def clean_bars(raw: pd.DataFrame) -> CleanBars:
    """Sort `raw` (any dtypes, any order, the columns of BAR_COLUMNS) into good and bad rows.

    A repeated time keeps its last row, as a correction would. Naive times are taken as UTC; times
    with an offset are converted. Raises BadInput when a column is missing.
    """
    missing = [column for column in BAR_COLUMNS if column not in raw.columns]
    if missing:
        raise BadInput(f"columns {', '.join(missing)} are missing; a bar needs {', '.join(BAR_COLUMNS)}")
    bars = pd.DataFrame({"time": _utc_times(raw["time"])})
    for column in VALUE_COLUMNS:
        bars[column] = _numbers(raw[column])
    reasons = _reasons(bars)
    bad = reasons.notna().to_numpy()
    if bad.sum() > MOST_SET_ASIDE:
        most = reasons[bad].value_counts()
        raise BadInput(
            f"{bad.sum():,} of {counted(len(bars), 'row')} cannot be used ({most.iloc[0]:,} because {most.index[0]}); "
            f"with more than {MOST_SET_ASIDE:,} this is no file of one-minute bars"
        )
    set_aside = pd.DataFrame(
        {
            "row": np.flatnonzero(bad) + 1,
            "reason": reasons[bad].to_numpy(dtype=object),
            "raw": [printable(" ".join(map(str, row))) for row in raw.loc[bad, BAR_COLUMNS].itertuples(index=False)],
        }
    )
    good = bars[~bad].sort_values("time", kind="stable").reset_index(drop=True)
    return CleanBars(good, set_aside)


def printable(text: str) -> str:
    """The beginning of `text` as PostgreSQL can keep it: a NUL byte becomes the replacement character."""
    return text[:LONGEST_SET_ASIDE].replace("\x00", "\N{REPLACEMENT CHARACTER}")


def _numbers(values: pd.Series) -> pd.Series:
    numbers = values if pd.api.types.is_numeric_dtype(values) else pd.to_numeric(values, errors="coerce")
    return numbers.astype("float64").reset_index(drop=True)


def _utc_times(values: pd.Series) -> pd.Series:
    """`values` as UTC times; what is not a time becomes NaT. Numbers, also as text, are Unix times."""
    if pd.api.types.is_datetime64_any_dtype(values):
        times = pd.DatetimeIndex(pd.to_datetime(values, utc=True))
    elif pd.api.types.is_numeric_dtype(values):
        times = _unix_times(values.to_numpy(dtype=np.float64, na_value=np.nan))
    else:
        text = values.to_numpy(dtype=object)
        numbers = pd.to_numeric(values, errors="coerce").to_numpy(dtype=np.float64, na_value=np.nan)
        iso = pd.DatetimeIndex(pd.to_datetime(text, utc=True, errors="coerce", format="ISO8601")).as_unit("us")
        # "20180601" is a date to ISO 8601 and a number to Unix; a column of numbers is Unix time.
        times = _unix_times(numbers).where(np.isfinite(numbers), iso)
    known = times.as_unit("us")
    return pd.Series(known.where((known >= EARLIEST) & (known < LATEST)))


def _unix_times(numbers: NDArray[np.float64]) -> pd.DatetimeIndex:
    """Unix times in whichever unit puts the middle one into our age: s, ms, us or ns."""
    finite = np.abs(numbers[np.isfinite(numbers)])
    middle = float(np.median(finite)) if len(finite) else 0.0
    scale = next((scale for scale in (1e9, 1e6, 1e3) if middle > scale * UNIX_SECONDS_OF_1973), 1.0)
    microseconds = numbers / scale * 1e6
    usable = np.isfinite(microseconds) & (np.abs(microseconds) < LARGEST_MICROSECONDS)
    stamps = np.where(usable, microseconds, 0).round().astype("int64").astype("datetime64[us]")
    return pd.DatetimeIndex(np.where(usable, stamps, np.datetime64("NaT"))).tz_localize("UTC")


def _reasons(bars: pd.DataFrame) -> pd.Series:
    """Why each row cannot be used (object, None when it can). The first matching reason is given."""
    prices = bars[PRICE_COLUMNS].to_numpy()
    high, low = bars["high"].to_numpy(), bars["low"].to_numpy()
    body_high = np.maximum(bars["open"].to_numpy(), bars["close"].to_numpy())
    body_low = np.minimum(bars["open"].to_numpy(), bars["close"].to_numpy())
    volume = bars["volume"].to_numpy()
    with np.errstate(invalid="ignore"):
        rules = {
            "time is not a date and time between 1980 and 2200": bars["time"].isna().to_numpy(),
            "time is not a whole minute": (bars["time"] != bars["time"].dt.floor("min")).to_numpy(),
            "price is not a number": ~np.isfinite(prices).all(axis=1),
            "volume is not a number": ~np.isfinite(volume),
            "price is zero or negative": (prices <= 0).any(axis=1),
            "volume is negative": volume < 0,
            "high is below low": high < low,
            "open or close lies outside low..high": (body_high > high * (1 + 1e-9)) | (body_low < low * (1 - 1e-9)),
        }
    reasons = pd.Series([None] * len(bars), dtype=object)
    for reason, broken in rules.items():
        reasons[broken & reasons.isna().to_numpy()] = reason
    # First the absurd, then the repeated: an absurd correction must not cost the good row as well.
    reasons[_absurd(bars, reasons.isna().to_numpy())] = (
        f"price is more than {ABSURD_PRICE_RATIO:g} times off its neighbours"
    )
    usable = reasons.isna().to_numpy()
    reasons[usable & bars["time"].where(usable).duplicated(keep="last").to_numpy()] = (
        "time is repeated; the last row of that time is kept"
    )
    return reasons


def _absurd(bars: pd.DataFrame, usable: np.ndarray) -> np.ndarray:
    """Mark usable bars with a price far off the median close of the bars around them, in time order."""
    ordered = bars[usable].sort_values("time", kind="stable")
    median = ordered["close"].rolling(ABSURD_PRICE_NEIGHBOURS, center=True, min_periods=1).median()
    ratio = ordered[PRICE_COLUMNS].div(median, axis=0)
    absurd = ((ratio > ABSURD_PRICE_RATIO) | (ratio < 1 / ABSURD_PRICE_RATIO)).any(axis=1)
    marked = np.zeros(len(bars), dtype=bool)
    marked[ordered.index[absurd].to_numpy(dtype=np.intp)] = True
    return marked


def to_grid(bars: pd.DataFrame, max_gap_minutes: int = MAX_GAP_MINUTES) -> pd.DataFrame:
    """Lay clean bars on a one-minute grid.

    A gap of up to `max_gap_minutes` missing minutes is filled: every price is the last close, the
    volume zero, `carried` true. A longer one starts a new `session` (int64, from 0). Nothing is
    added after the last bar. Returns a frame indexed by time with VALUE_COLUMNS, session, carried.
    """
    minutes = bars["time"].astype("datetime64[us, UTC]").astype("int64").to_numpy() // 60_000_000
    missing = np.diff(minutes, append=minutes[-1:] + 1) - 1
    fill = np.where(missing <= max_gap_minutes, missing, 0)
    source = np.repeat(np.arange(len(minutes)), fill + 1)
    first = np.cumsum(fill + 1) - (fill + 1)
    offset = np.arange(len(source)) - first[source]
    carried = offset > 0
    breaks = np.concatenate([[0], (missing[:-1] > max_gap_minutes).astype(np.int64)]) if len(minutes) else missing
    grid = pd.DataFrame(index=pd.to_datetime((minutes[source] + offset) * 60_000_000, unit="us", utc=True))
    grid.index.name = "time"
    close = bars["close"].to_numpy(dtype=np.float64)[source]
    for column in PRICE_COLUMNS:
        grid[column] = np.where(carried, close, bars[column].to_numpy(dtype=np.float64)[source])
    grid["volume"] = np.where(carried, 0.0, bars["volume"].to_numpy(dtype=np.float64)[source])
    grid["session"] = np.cumsum(breaks)[source]
    grid["carried"] = carried
    return grid


def closed_before(as_of: datetime) -> datetime:
    """The open time of the last bar whose minute is over at `as_of`."""
    minute = as_of.replace(second=0, microsecond=0)
    return minute - BAR_LENGTH


def age_minutes(bar_time: datetime, as_of: datetime) -> float:
    """Minutes between the close of the bar opened at `bar_time` and `as_of`."""
    return (as_of - bar_time - BAR_LENGTH).total_seconds() / 60
