"""One-minute bars: definition, cleaning, the grid, freshness.

A bar is stamped with the time its minute opens, in UTC. `time`, `open`, `high`, `low`, `close`
(quote currency, > 0) and `volume` (base units, >= 0) are all a bar has; it counts once its minute
is over. A feed may state more (FEED_COLUMNS), which is kept and not used.
"""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from hybrid_ml.errors import BadInput
from hybrid_ml.market.sessions import ALWAYS_OPEN, OUTSIDE, Sessions
from hybrid_ml.text.counts import counted

PRICE_COLUMNS = ["open", "high", "low", "close"]
VALUE_COLUMNS = [*PRICE_COLUMNS, "volume"]
BAR_COLUMNS = ["time", *VALUE_COLUMNS]
FEED_COLUMNS = ["quote_volume", "trades", "taker_buy_volume"]
"""What a feed may state beside BAR_COLUMNS: volume in quote currency, number of trades, base volume of taker buys."""
BAR_LENGTH = timedelta(minutes=1)
MAX_GAP_MINUTES = 30
"""Longest gap that is filled by repeating the last close; a longer one ends the session."""
EARLIEST, LATEST = pd.Timestamp("1980-01-01", tz="UTC"), pd.Timestamp("2200-01-01", tz="UTC")
"""Limits of valid times; a time outside is in a wrong unit or an error."""
UNIX_SECONDS_OF_1973 = 1e8
"""1973 in Unix seconds: numbers above a thousand (a million, a billion) times this are ms (us, ns)."""
UNIX_UNITS = np.array([1.0, 1e3, 1e6, 1e9])
LARGEST_MICROSECONDS = 2.5e17
FUTURE_MINUTES = 1.0
"""A bar that closes so much later than now by this machine's clock is no error yet: clocks differ."""
FUTURE_REMEDY = (
    "remove the bars after now (`hybrid-ml bars remove`), and load them again: a file of local times with --timezone, "
    "an exchange once its clock and this machine's agree"
)
ABSURD_PRICE_RATIO = 10.0
"""A bar further than this factor from the median of its neighbours is an input error."""
ABSURD_PRICE_NEIGHBOURS = 21
ABSURD_PRICE = f"price is more than {ABSURD_PRICE_RATIO:g} times off its neighbours"
NEW_LEVEL = (
    f"price is more than {ABSURD_PRICE_RATIO:g} times off the bars before and stays there: a change of level, such as "
    f"a split; it comes in once {ABSURD_PRICE_NEIGHBOURS // 2 + 1} bars agree"
)
NOT_OVER = "its minute is not over at the time of loading"
REPEATED_TIME = "time is repeated; the last row of that time is kept"
NO_TIME = np.iinfo(np.int64).min
MINUTE_MICROSECONDS = 60_000_000
MOST_SET_ASIDE, LONGEST_SET_ASIDE = 250_000, 500
"""Rejected rows that a file may have, and characters that are kept of each: with more it is no file of bars."""


@dataclass(frozen=True)
class CleanBars:
    """Usable bars, and the rejected rows.

    `bars`: BAR_COLUMNS, `time` datetime64[us, UTC] ascending and unique, values float64.
    `rejected`: columns row (position in the input, from 1; negative where it is not known), reason,
    raw (the row as text), time (UTC, NaT where it is not known).
    """

    bars: pd.DataFrame
    rejected: pd.DataFrame

    @property
    def reasons(self) -> dict[str, int]:
        """The number of rejected rows for each reason, the most frequent first."""
        return {str(reason): int(count) for reason, count in self.rejected["reason"].value_counts().items()}


def clean_bars(raw: pd.DataFrame, now: datetime | None = None) -> CleanBars:
    """Separate `raw` (any dtypes, any order, the columns of BAR_COLUMNS) into usable and rejected rows.

    A repeated time keeps its last row, as a correction would. Naive times are taken as UTC; times
    with an offset are converted. A bar whose minute is not over at `now` is rejected. Raises BadInput when a column
    is missing.
    """
    missing = [column for column in BAR_COLUMNS if column not in raw.columns]
    if missing:
        raise BadInput(f"columns {', '.join(missing)} are missing; a bar needs {', '.join(BAR_COLUMNS)}")
    bars = pd.DataFrame({"time": _utc_times(raw["time"])})
    for column in VALUE_COLUMNS:
        bars[column] = _numbers(raw[column])
    reasons = row_reasons(microseconds(bars["time"]), bars[VALUE_COLUMNS].to_numpy(), now)
    usable = bars[pd.isna(reasons)].sort_values("time", kind="stable")
    reasons[usable.index.to_numpy(dtype=np.intp)] = order_reasons(
        microseconds(usable["time"]), usable[PRICE_COLUMNS].to_numpy()
    )
    bad = ~pd.isna(reasons)
    refuse_many_rejected(Counter(reasons[bad].tolist()), len(bars))
    rejected = pd.DataFrame(
        {
            "row": np.flatnonzero(bad) + 1,
            "reason": reasons[bad],
            "raw": [printable(" ".join(map(str, row))) for row in raw.loc[bad, BAR_COLUMNS].itertuples(index=False)],
            "time": bars["time"][bad].to_numpy(dtype=object),
        }
    )
    good = bars[~bad].sort_values("time", kind="stable").reset_index(drop=True)
    return CleanBars(good, rejected)


def refuse_many_rejected(reasons: Mapping[str, int], rows: int) -> None:
    """Raise BadInput where so many of `rows` are rejected that this is no file of bars."""
    count = sum(reasons.values())
    if count > MOST_SET_ASIDE:
        reason, most = max(reasons.items(), key=lambda item: item[1])
        raise BadInput(
            f"{count:,} of {counted(rows, 'row')} cannot be used ({most:,} because {reason}); "
            f"with more than {MOST_SET_ASIDE:,} this is no file of one-minute bars"
        )


def surely_clean(bars: pd.DataFrame) -> bool:
    """Whether `clean_bars` would reject nothing of `bars`, seen at a fraction of its cost; False: it may or may not.

    `bars`: BAR_COLUMNS, times ascending and unique on the minute grid, values finite. No price is far off its
    neighbours where the highest of all is less than ABSURD_PRICE_RATIO times the lowest.
    """
    if bars.empty:
        return True
    opened, high, low, close, volume = (bars[column].to_numpy() for column in VALUE_COLUMNS)
    inside = (low <= np.minimum(opened, close)) & (high >= np.maximum(opened, close)) & (volume >= 0)
    return bool(inside.all() and low.min() > 0 and high.max() < ABSURD_PRICE_RATIO * low.min())


def printable(text: str) -> str:
    """The beginning of `text` as PostgreSQL can keep it: a NUL byte becomes the replacement character."""
    return text[:LONGEST_SET_ASIDE].replace("\x00", "\N{REPLACEMENT CHARACTER}")


def _numbers(values: pd.Series) -> pd.Series:
    numbers = values if pd.api.types.is_numeric_dtype(values) else pd.to_numeric(values, errors="coerce")
    return numbers.astype("float64").reset_index(drop=True)


def _utc_times(values: pd.Series) -> pd.Series:
    """`values` as UTC times; a value that is no time becomes NaT. Numbers, also as text, are Unix times."""
    if pd.api.types.is_datetime64_any_dtype(values):
        times = pd.DatetimeIndex(pd.to_datetime(values, utc=True))
    elif pd.api.types.is_numeric_dtype(values):
        times = unix_times(values.to_numpy(dtype=np.float64, na_value=np.nan))
    else:
        text = values.to_numpy(dtype=object)
        numbers = pd.to_numeric(values, errors="coerce").to_numpy(dtype=np.float64, na_value=np.nan)
        iso = pd.DatetimeIndex(pd.to_datetime(text, utc=True, errors="coerce", format="ISO8601")).as_unit("us")
        # "20180601" is a date to ISO 8601 and a number to Unix; a column of numbers is Unix time.
        times = unix_times(numbers).where(np.isfinite(numbers), iso)
    known = times.as_unit("us")
    return pd.Series(known.where((known >= EARLIEST) & (known < LATEST)))


def unix_scales(numbers: NDArray[np.float64]) -> NDArray[np.float64]:
    """For each Unix time the factor to seconds for which it is a plausible date: 1 (s), 1e3, 1e6 or 1e9 (ns).

    Row by row: one file may change its unit, as the archives of Binance did in 2025.
    """
    return UNIX_UNITS[np.searchsorted(UNIX_SECONDS_OF_1973 * UNIX_UNITS[1:], np.abs(numbers))]


def unix_times(numbers: NDArray[np.float64]) -> pd.DatetimeIndex:
    """Unix times in s, ms, us or ns as UTC times; NaT for what is none."""
    usable = np.isfinite(numbers)
    known = np.where(usable, numbers, 0)
    stamps = known / unix_scales(known) * 1e6
    usable &= np.abs(stamps) < LARGEST_MICROSECONDS
    whole = np.where(usable, stamps, 0).round().astype("int64").astype("datetime64[us]")
    return pd.DatetimeIndex(np.where(usable, whole, np.datetime64("NaT"))).tz_localize("UTC")


def microseconds(times: pd.Series | pd.DatetimeIndex) -> NDArray[np.int64]:
    """`times` as Unix microseconds, NO_TIME where one is missing."""
    return pd.DatetimeIndex(times).as_unit("us").asi8


def row_reasons(times: NDArray[np.int64], values: NDArray[np.float64], now: datetime | None) -> NDArray[np.object_]:
    """Why each row cannot be used, for itself (None when it can). The first matching reason is used.

    `times`: Unix microseconds; `values`: a column for each of VALUE_COLUMNS.
    """
    prices, volume = values[:, :4], values[:, 4]
    high, low = prices[:, 1], prices[:, 2]
    body_high, body_low = np.maximum(prices[:, 0], prices[:, 3]), np.minimum(prices[:, 0], prices[:, 3])
    open_until = LATEST.value // 1_000 if now is None else int(pd.Timestamp(closed_before(now)).value // 1_000)
    with np.errstate(invalid="ignore"):
        rules = {
            "time is not a date and time between 1980 and 2200": times == NO_TIME,
            "time is not a whole minute": times % MINUTE_MICROSECONDS != 0,
            NOT_OVER: times > open_until,
            "price is not a number": ~np.isfinite(prices).all(axis=1),
            "volume is not a number": ~np.isfinite(volume),
            "price is zero or negative": (prices <= 0).any(axis=1),
            "volume is negative": volume < 0,
            "high is below low": high < low,
            "open or close lies outside low..high": (body_high > high * (1 + 1e-9)) | (body_low < low * (1 - 1e-9)),
        }
    reasons = np.full(len(times), None, dtype=object)
    for reason, broken in reversed(rules.items()):
        reasons[broken] = reason
    return reasons


def order_reasons(times: NDArray[np.int64], prices: NDArray[np.float64], at_end: bool = True) -> NDArray[np.object_]:
    """Why rows that are valid for themselves, in time order, cannot be used beside the others (None when they can).

    `prices`: a column for each of PRICE_COLUMNS. `at_end`: whether nothing follows these rows.
    """
    reasons = np.full(len(times), None, dtype=object)
    median = pd.Series(prices[:, 3]).rolling(ABSURD_PRICE_NEIGHBOURS, center=True, min_periods=1).median().to_numpy()
    ratio = prices / median[:, None]
    absurd = ((ratio > ABSURD_PRICE_RATIO) | (ratio < 1 / ABSURD_PRICE_RATIO)).any(axis=1)
    # Absurd prices before repeated times, so that an absurd correction does not also reject the good row.
    reasons[absurd] = ABSURD_PRICE
    last = len(absurd) - int(np.argmin(absurd[::-1])) if not absurd.all() else len(absurd)
    level = prices[last:, 3]
    if at_end and len(level) > 1 and level.max() <= ABSURD_PRICE_RATIO * level.min():
        reasons[last:] = NEW_LEVEL
    usable = np.flatnonzero(~absurd)
    reasons[usable[pd.Series(times[usable]).duplicated(keep="last").to_numpy()]] = REPEATED_TIME
    return reasons


def in_sessions(bars: pd.DataFrame, sessions: Sessions) -> pd.DataFrame:
    """`bars` without those outside of all `sessions`, which are never used. Raises CalendarEnded."""
    is_inside = sessions.numbers(microseconds(bars["time"]) // MINUTE_MICROSECONDS) != OUTSIDE
    return bars if is_inside.all() else bars[is_inside].reset_index(drop=True)


def to_grid(
    bars: pd.DataFrame, max_gap_minutes: int = MAX_GAP_MINUTES, sessions: Sessions = ALWAYS_OPEN
) -> pd.DataFrame:
    """Put clean bars on a one-minute grid.

    A gap of up to `max_gap_minutes` missing minutes is filled: every price is the last close, the
    volume zero, `carried` true. A longer one starts a new `session` (int64, from 0), and so does the next of
    `sessions`, however short the time between them; bars outside of all `sessions` are left out. Nothing is
    added after the last bar. Returns a frame indexed by time with VALUE_COLUMNS, session, carried. Raises
    CalendarEnded for a bar of which `sessions` states nothing.
    """
    bars = in_sessions(bars, sessions)
    minutes = microseconds(bars["time"]) // MINUTE_MICROSECONDS
    stated = sessions.numbers(minutes)
    missing = np.diff(minutes, append=minutes[-1:] + 1) - 1
    is_last = (missing > max_gap_minutes) | (np.diff(stated, append=stated[-1:]) != 0)
    fill = np.where(is_last, 0, missing)
    source = np.repeat(np.arange(len(minutes)), fill + 1)
    first = np.cumsum(fill + 1) - (fill + 1)
    offset = np.arange(len(source)) - first[source]
    carried = offset > 0
    breaks = np.concatenate([[0], is_last[:-1].astype(np.int64)]) if len(minutes) else missing
    grid = pd.DataFrame(index=pd.to_datetime((minutes[source] + offset) * MINUTE_MICROSECONDS, unit="us", utc=True))
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
    """Minutes between the close of the bar opened at `bar_time` and `as_of`; negative where that is in the future."""
    return (as_of - bar_time - BAR_LENGTH).total_seconds() / 60


def future_problem(bar_time: datetime, now: datetime) -> str:
    """That the newest bar lies in the future, in words; empty where it does not."""
    minutes = -age_minutes(bar_time, now)
    return f"the newest bar lies {counted(round(minutes), 'minute')} in the future" if minutes > FUTURE_MINUTES else ""
