"""A load: rows of files cleaned, compared with the bars in the database, and stored piece by piece."""

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta

import pandas as pd
from sqlalchemy import Connection, Engine

from hybrid_ml.market.bar_rows import NEIGHBOURS, BarRows
from hybrid_ml.market.bars import ABSURD_PRICE, BAR_COLUMNS, NEW_LEVEL, VALUE_COLUMNS, refuse_many_rejected
from hybrid_ml.store.bars import remove_mended_rows, store_bars, store_rejected_rows
from hybrid_ml.store.sql import query
from hybrid_ml.text.counts import counted

MOST_WITHIN, MOST_WAITING = 1_000, 200
"""Stored bars within the period of a load with which its rows are compared, and rows that wait for a new level."""
WAITING_WITHOUT_BARS = timedelta(days=1)
DOUBTFUL_ROWS, DOUBTFUL_SHARE = 50, 0.5
"""A correction changes a few bars; where so many were stored before and such a share differs, it is another series."""


@dataclass(frozen=True)
class Loaded:
    """The result of a load. `newest`: its newest bars (BAR_COLUMNS); first and last are None where it has none."""

    rows_read: int
    rows_usable: int
    rows_new: int
    rows_changed: int
    reasons: dict[str, int]
    first: datetime | None
    last: datetime | None
    newest: pd.DataFrame

    @property
    def rows_unchanged(self) -> int:
        return self.rows_usable - self.rows_new - self.rows_changed

    @property
    def doubt(self) -> str:
        """Why these may be bars of other minutes or of another market than those that were stored; else empty."""
        stored = self.rows_usable - self.rows_new
        if stored < DOUBTFUL_ROWS or self.rows_changed < DOUBTFUL_SHARE * stored:
            return ""
        return (
            f"{self.rows_changed:,} of {counted(stored, 'bar')} that were stored before differ "
            f"({self.rows_changed / stored:.0%}) and were replaced: are the times of another zone (--timezone), "
            "or is it another market? The former values are in table bar_revisions"
        )


def load_bars(
    engine: Engine, symbol: str, rows: BarRows, newest_count: int, on_rows: Callable[[int], None] | None = None
) -> Loaded:
    """Store the usable ones of `rows`, and keep the rejected ones. Running it again changes nothing."""
    stored = waiting = None
    if rows.span is not None:
        with engine.connect() as connection:
            stored = neighbouring_bars(connection, symbol, *rows.span)
            earliest = rows.span[0] - WAITING_WITHOUT_BARS if stored.empty else stored["time"].iloc[0].to_pydatetime()
            waiting = waiting_rows(connection, symbol, earliest, rows.span[1])
    usable = new = changed = 0
    first = last = None
    newest: list[pd.DataFrame] = []
    rejected, reasons = [], Counter[str]()
    for piece in rows.cleaned(stored, waiting):
        rejected.append(piece.rejected)
        reasons.update(piece.reasons)
        refuse_many_rejected(reasons, rows.rows_read)
        if piece.bars.empty:
            continue
        written = store_bars(engine, symbol, piece.bars, on_rows)
        new, changed = new + written.new, changed + written.changed
        remove_mended_rows(engine, symbol, piece.bars)
        usable += len(piece.bars)
        first, last = first or piece.bars["time"].iloc[0].to_pydatetime(), piece.bars["time"].iloc[-1].to_pydatetime()
        newest.append(piece.bars)
        while sum(map(len, newest[1:])) >= newest_count:
            del newest[0]
    store_rejected_rows(engine, symbol, pd.concat(rejected, ignore_index=True))
    counts = dict(reasons.most_common())
    latest = pd.concat(newest).tail(newest_count) if newest else pd.DataFrame(columns=BAR_COLUMNS)
    return Loaded(
        usable + reasons.total(), usable, new, changed, counts, first, last, latest.reset_index(drop=True)
    )  # fmt: skip


def neighbouring_bars(connection: Connection, symbol: str, first: datetime, last: datetime) -> pd.DataFrame:
    """Stored bars (BAR_COLUMNS) with which rows from `first` to `last` are compared, oldest first."""
    found = connection.execute(
        query("neighbouring_bars"),
        {"symbol": symbol, "first": first, "last": last, "around": NEIGHBOURS, "within": MOST_WITHIN},
    )
    return _frame([tuple(row) for row in found])


def waiting_rows(connection: Connection, symbol: str, first: datetime, last: datetime) -> pd.DataFrame:
    """Rows (BAR_COLUMNS) that were rejected for their price level alone; they come in once that has stayed."""
    found = connection.execute(
        query("waiting_rows"),
        {"symbol": symbol, "reasons": [ABSURD_PRICE, NEW_LEVEL], "first": first, "last": last, "most": MOST_WAITING},
    )
    return _frame([(row.time, *map(float, row.raw.rsplit(" ", len(VALUE_COLUMNS))[1:])) for row in found])


def _frame(rows: list[tuple]) -> pd.DataFrame:
    frame = pd.DataFrame(rows, columns=BAR_COLUMNS)
    return frame.assign(time=pd.to_datetime(frame["time"], utc=True).astype("datetime64[us, UTC]"))
