"""Rows of files of bars on their way to the database: kept in a temporary file, and cleaned in time order in pieces.

Of every 512th row the minute alone stays in memory; so millions of rows need little of it, in whatever order they come.
"""

import tempfile
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from zoneinfo import ZoneInfo

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from hybrid_ml.errors import BadInput
from hybrid_ml.market.bars import (
    ABSURD_PRICE_NEIGHBOURS,
    MINUTE_MICROSECONDS,
    PRICE_COLUMNS,
    VALUE_COLUMNS,
    CleanBars,
    microseconds,
    order_reasons,
    printable,
    refuse_many_rejected,
)
from hybrid_ml.text.counts import counted

ROW = np.dtype([("time", "<i8"), *((column, "<f8") for column in VALUE_COLUMNS), ("row", "<i4"), ("file", "<i4")])
"""`time`: Unix microseconds; `row`: position in its file, from 1; `file`: number of it, or one of the next two."""
STORED, WAITING = -1, -2
"""Bars from the database that are only compared with, and rows rejected before that may come in now."""
IN_MEMORY_BYTES = 4_000_000
PIECE_ROWS, LEAST_ROWS, SAMPLED_ROWS = 40_960, 64, 512
NEIGHBOURS = ABSURD_PRICE_NEIGHBOURS // 2
LEAST_STEPS, STEPS_SHARE = 4, 0.95
LONGEST_LEAD_MINUTES = 14 * 60
"""Of a local time before UTC."""
LEAST_AHEAD = 5
ZONES = (
    *("Europe/London", "Europe/Berlin", "Europe/Moscow", "Asia/Dubai", "Asia/Karachi", "Asia/Kolkata"),
    *("Asia/Kathmandu", "Asia/Dhaka", "Asia/Bangkok", "Asia/Shanghai", "Asia/Tokyo", "Australia/Sydney"),
)
REJECTED_COLUMNS = ["source", "row", "reason", "raw", "time"]
Rejected = tuple[str, int, str, str, int]


@dataclass(frozen=True)
class _Run:
    """Rows of the temporary file that follow one another in time order.

    `start`: how many rows are before them; `count`: how many they are; `sampled`: the minutes since 1970 of every
    SAMPLED_ROWS-th of them, from the first on; `last`: that of the last.
    """

    start: int
    count: int
    sampled: NDArray[np.int64]
    last: int

    def overlaps(self, low: int, high: int) -> bool:
        """Whether some of its rows may be from the minute `low` until before `high`."""
        return bool(self.sampled[0] < high and self.last >= low)

    def around(self, low: int, high: int) -> tuple[int, int]:
        """First and end of places in the file with all its rows from `low` until before `high`, and some beside."""
        first, end = (int(found) * SAMPLED_ROWS for found in np.searchsorted(self.sampled, [low, high]))
        return self.start + max(first - SAMPLED_ROWS, 0), self.start + min(end, self.count)


class BarRows:
    """Rows that are valid for themselves, in a temporary file; and the rejected ones."""

    def __init__(self) -> None:
        self._file = tempfile.SpooledTemporaryFile(max_size=IN_MEMORY_BYTES)  # noqa: SIM115  # closed with this object
        self._runs: list[_Run] = []
        self._count = 0
        self.sources: list[str] = []
        self.descriptions: list[str] = []
        self.rejected: list[Rejected] = []
        self._reasons: Counter[str] = Counter()

    @classmethod
    def of(cls, bars: pd.DataFrame, source: str) -> "BarRows":
        """Clean `bars` (BAR_COLUMNS) as rows."""
        rows = cls()
        rows.sources.append(source)
        kept = _as_rows(bars, 0)
        kept["row"] = 1 + np.arange(len(bars))
        rows.add(kept)
        return rows

    def __len__(self) -> int:
        return self._count

    @property
    def rows_read(self) -> int:
        """Usable and rejected rows together."""
        return self._count + len(self.rejected)

    @property
    def taken_for(self) -> str:
        """What the files were recognised as; of several files, of the first and how many there are."""
        more = f" (and {counted(len(self.descriptions) - 1, 'file')} more)" if len(self.descriptions) > 1 else ""
        return "".join(self.descriptions[:1]) + more

    @property
    def span(self) -> tuple[datetime, datetime] | None:
        """Times of the first and the last row; None where there is none."""
        if not self._runs:
            return None
        first, last = min(int(run.sampled[0]) for run in self._runs), max(run.last for run in self._runs)
        return datetime.fromtimestamp(first * 60, UTC), datetime.fromtimestamp(last * 60, UTC)

    def add(self, rows: NDArray) -> None:
        """Keep `rows` (ROW), which may be in any order; later ones count where a time is repeated."""
        if not len(rows):
            return
        times = rows["time"]
        if (np.diff(times) < 0).any():
            rows = rows[np.argsort(times, kind="stable")]
        self._file.seek(0, 2)
        self._file.write(rows.tobytes())
        self._runs.append(_Run(self._count, len(rows), _minutes(rows[::SAMPLED_ROWS]), int(_minutes(rows[-1:])[0])))
        self._count += len(rows)

    def reject(self, rejected: list[Rejected]) -> None:
        """Keep rejected rows; raises BadInput where they are too many."""
        self.rejected += rejected
        self._reasons.update(reason for _, _, reason, _, _ in rejected)
        refuse_many_rejected(self._reasons, self.rows_read)

    def cleaned(self, stored: pd.DataFrame | None = None, waiting: pd.DataFrame | None = None) -> Iterator[CleanBars]:
        """Usable bars in time order, in pieces, with the rejected rows; the same as of all rows at once.

        `stored`: bars around these in the database, with which prices are compared. `waiting`: rows (BAR_COLUMNS)
        that were rejected for their price level before, and come in if it has stayed.
        """
        others = [_as_rows(frame, number) for frame, number in ((stored, STORED), (waiting, WAITING))]
        context = np.empty(0, dtype=ROW)
        pieces = _at_least(self._in_time_order(np.concatenate(others)), LEAST_ROWS)
        piece = next(pieces, context)
        yield CleanBars(_bars(context), _rejected(self.rejected))
        while len(piece):
            following = next(pieces, np.empty(0, dtype=ROW))
            yield self._split(piece, _reasons_beside(context, piece, following))
            context, piece = np.concatenate([context[-NEIGHBOURS:], piece[-NEIGHBOURS:]])[-NEIGHBOURS:], following

    def _split(self, piece: NDArray, reasons: NDArray[np.object_]) -> CleanBars:
        bad = pd.notna(reasons) & (piece["file"] >= 0)
        rejected = [
            (self.sources[row["file"]], int(row["row"]), reason, _as_text(row), int(row["time"]))
            for row, reason in zip(piece[bad], reasons[bad], strict=True)
        ]
        return CleanBars(_bars(piece[pd.isna(reasons) & (piece["file"] != STORED)]), _rejected(rejected))

    def _in_time_order(self, others: NDArray) -> Iterator[NDArray]:
        """All rows, and those of `others` in whose minute none of them is, in pieces of about PIECE_ROWS.

        Rows of one time are in one piece, in their order.
        """
        others = others[np.argsort(others["time"], kind="stable")]
        samples = np.sort(np.concatenate([*(run.sampled for run in self._runs), _minutes(others[::SAMPLED_ROWS])]))
        bounds = np.unique(samples[:: PIECE_ROWS // SAMPLED_ROWS])
        for low, high in zip(bounds, np.append(bounds[1:], np.iinfo(np.int64).max), strict=False):
            yield self._piece(low, high, _between(others, low, high))

    def _piece(self, low: int, high: int, others: NDArray) -> NDArray:
        runs = [run for run in self._runs if run.overlaps(low, high)]
        parts = [_between(self._read(*run.around(low, high)), low, high) for run in runs]
        rows = np.concatenate([others[:0], *parts])
        rows = np.concatenate([rows, others[~np.isin(_minutes(others), _minutes(rows))]])
        return rows[np.argsort(rows["time"], kind="stable")]

    def _read(self, first: int, end: int) -> NDArray:
        self._file.seek(first * ROW.itemsize)
        return np.frombuffer(self._file.read((end - first) * ROW.itemsize), dtype=ROW)


def _reasons_beside(context: NDArray, piece: NDArray, following: NDArray) -> NDArray[np.object_]:
    """`order_reasons` of `piece` between the rows before it and those after it, none where it is the last."""
    judged = np.concatenate([context, piece, following[:NEIGHBOURS]])
    prices = np.column_stack([judged[column] for column in PRICE_COLUMNS])
    reasons = order_reasons(judged["time"], prices, at_end=not len(following))
    return reasons[len(context) : len(context) + len(piece)]


def _between(rows: NDArray, low: int, high: int) -> NDArray:
    """Those of `rows`, which are in time order, whose minutes are from `low` until before `high`."""
    first, end = np.searchsorted(_minutes(rows), [low, high])
    return rows[first:end]


def _minutes(rows: NDArray) -> NDArray[np.int64]:
    """Minutes since 1970."""
    return np.asarray(rows["time"] // MINUTE_MICROSECONDS)


def _at_least(pieces: Iterator[NDArray], count: int) -> Iterator[NDArray]:
    """The same rows in pieces of at least `count`, so that every row's neighbours are in its piece or the next."""
    held = np.empty(0, dtype=ROW)
    for piece in pieces:
        if len(held) >= count and len(piece) >= count:
            yield held
            held = piece
        else:
            held = np.concatenate([held, piece])
    yield held


def _as_rows(bars: pd.DataFrame | None, number: int) -> NDArray:
    rows = np.zeros(0 if bars is None else len(bars), dtype=ROW)
    if bars is not None and len(bars):
        rows["time"], rows["file"] = microseconds(bars["time"]), number
        for column in VALUE_COLUMNS:
            rows[column] = bars[column].to_numpy(dtype=np.float64)
    return rows


def _bars(rows: NDArray) -> pd.DataFrame:
    times = pd.DatetimeIndex(rows["time"].astype("datetime64[us]")).tz_localize("UTC")
    return pd.DataFrame({"time": times, **{column: rows[column] for column in VALUE_COLUMNS}})


def _rejected(rows: list[Rejected]) -> pd.DataFrame:
    frame = pd.DataFrame(rows, columns=REJECTED_COLUMNS)
    frame["time"] = pd.DatetimeIndex(frame["time"].to_numpy(dtype="datetime64[us]")).tz_localize("UTC")
    return frame


def _as_text(row: np.void) -> str:
    time = pd.Timestamp(int(row["time"]), unit="us", tz="UTC").isoformat()
    return printable(" ".join([time, *(repr(float(row[column])) for column in VALUE_COLUMNS)]))


def refuse_longer_bars(times: NDArray[np.int64]) -> None:
    """Raise BadInput where `times` are further apart than bars of one minute."""
    distinct = np.unique(times)
    steps = np.diff(distinct)
    if len(steps) < LEAST_STEPS:
        return
    values, counts = np.unique(steps, return_counts=True)
    usual = int(values[np.argmax(counts)])
    # Where minutes without trades are left out steps vary; steps of longer bars are multiples of one.
    if usual > MINUTE_MICROSECONDS and (steps % usual == 0).mean() >= STEPS_SHARE:
        shown = ", ".join(f"{time:%Y-%m-%d %H:%M}" for time in pd.to_datetime(distinct[:2], unit="us"))
        raise BadInput(
            f"its bars are {usual // MINUTE_MICROSECONDS:,} minutes apart ({shown}, …): these are no one-minute bars; "
            "load a file of one-minute bars"
        )


def describe_lead(ahead: NDArray[np.int64], now: datetime) -> str:
    """How far the newest of the times `ahead` of `now` is, and the zone whose local time that would be; else empty."""
    minutes = (int(ahead.max()) / 1e6 - now.timestamp()) / 60 + 1 if len(ahead) else 0.0
    rounded = round(minutes / 15) * 15
    if not 15 <= rounded <= LONGEST_LEAD_MINUTES:
        return ""
    lead = f"{rounded // 60} h {rounded % 60} min" if rounded % 60 else f"{rounded // 60} h"
    zones = [zone for zone in ZONES if _offset_minutes(zone, now) == rounded]
    return f"{lead} ahead of now: local time of {zones[0] if zones else 'a zone east of UTC'}?"


def refuse_local_time(ahead: NDArray[np.int64], rows: int, now: datetime) -> None:
    """Raise BadInput where times without an offset, taken as UTC, seem to be the local time of another zone."""
    lead = describe_lead(ahead, now)
    if lead and (len(ahead) >= LEAST_AHEAD or len(ahead) == rows):
        raise BadInput(
            f"its newest bar is {lead} Its times have no offset and were taken as UTC; state their zone, for example "
            f"--timezone {next((zone for zone in ZONES if zone in lead), 'Asia/Tokyo')} (or --timezone UTC)"
        )


def _offset_minutes(zone: str, now: datetime) -> int:
    offset = now.astimezone(ZoneInfo(zone)).utcoffset()
    return int(offset.total_seconds() // 60) if offset else 0
