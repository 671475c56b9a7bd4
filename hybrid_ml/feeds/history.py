"""Loading the history of an instrument: page by page in time, each page stored whole or not at all."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import get_args

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from sqlalchemy import Engine

from hybrid_ml.feeds.feed import PAGE_MINUTES, Answer, Feed, HistoryLimit
from hybrid_ml.market.bars import (
    ABSURD_PRICE,
    ABSURD_PRICE_NEIGHBOURS,
    ABSURD_PRICE_RATIO,
    BAR_COLUMNS,
    BAR_LENGTH,
    MINUTE_MICROSECONDS,
    NEW_LEVEL,
    clean_bars,
    microseconds,
    surely_clean,
)
from hybrid_ml.market.coverage import Span, State, due_again, newest_first, pages, spans_of, unanswered, united
from hybrid_ml.store.bars import bars_beside, price_range_beside, store_chunk, store_rejected
from hybrid_ml.store.coverage import (
    Instrument,
    first_covered,
    keep_instrument,
    read_coverage,
    read_instruments,
    record_coverage,
    save_instrument,
)
from hybrid_ml.store.sessions import read_calendar

LATE_MINUTES = 5
"""A bar that is missing may still appear for so long after it should be there."""
SILENT_MINUTES = 60
"""Without a bar for so long while its market is open, a symbol may no longer be traded."""
UNDECIDED = timedelta(minutes=ABSURD_PRICE_NEIGHBOURS)
"""By then a rejected price has as many bars after it as it is judged by."""
RECHECK_AFTER = timedelta(days=1)
"""When minutes without a bar are asked about once more: sources mend their outages, and corrections come late."""
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
JUDGES = ABSURD_PRICE_NEIGHBOURS // 2
"""Stored bars on each side by which a price is judged."""
NONE_REJECTED = pd.DataFrame({"row": [], "reason": [], "raw": [], "time": pd.DatetimeIndex([], tz="UTC")})


@dataclass
class Loaded:
    """What a load found. Minutes by what the feed said of them; `written`: bars that were new or changed.

    `newest`: the newest minute of which the feed stated a row, traded or not.
    """

    pages: int = 0
    written: int = 0
    rejected: int = 0
    newest: datetime | None = None
    minutes: dict[State, int] = field(default_factory=lambda: dict.fromkeys(get_args(State), 0))


@dataclass(frozen=True)
class Page:
    """One request. `is_last_time`: its minutes were asked about before, and are not asked about again after it."""

    begin: datetime
    end: datetime
    is_last_time: bool = False


@dataclass(frozen=True)
class Plan:
    """The minutes of `instrument` from `since` until before `until`, and the pages of them to ask for, in order.

    `note`: why older bars that were wanted are left out, and where they are to be had; else empty.
    `closed_minutes`: those in which its market is closed, which are not asked for.
    """

    instrument: Instrument
    since: datetime
    until: datetime
    pages: list[Page]
    note: str = ""
    closed_minutes: int = 0

    @property
    def missing_minutes(self) -> int:
        return sum((page.end - page.begin) // BAR_LENGTH for page in self.pages)


def plan_history(engine: Engine, feed: Feed, symbol: str, days: int, until: datetime | None) -> Plan:
    """Ask the feed about `symbol`, record the instrument, and find what is missing of `days` before `until`.

    `until` is whole minutes; None, or one later than bars are final, is the newest final bar. The days are those
    before it, cut to the time in which the symbol was listed and to what the feed answers for. Raises ExchangeRefused
    for an unknown symbol, BadInput where its bars are from another feed, and CalendarEnded.
    """
    with engine.connect() as connection:
        names = [item.feed_symbol for item in read_instruments(connection, [symbol]) if item.feed == feed.name]
    instrument, final = _described(feed, symbol, names[0] if names else symbol)
    with engine.begin() as connection:
        instrument = save_instrument(connection, instrument)
        sessions = read_calendar(connection, instrument.calendar)
    end = min(until or final, final)
    since = end - timedelta(days=days)
    if instrument.listed_at is None:
        since = end
    else:
        since, end = max(since, instrument.listed_at), min(end, instrument.delisted_at or end)
    note = ""
    if feed.limit is not None and since < (oldest := feed.limit.oldest(final)):
        since, note = oldest, older_bars(feed.name, feed.limit, symbol)
    if since >= end:
        return Plan(instrument, since, since, [], note)
    with engine.connect() as connection:
        known = read_coverage(connection, symbol, since, end)
    missing = pages(sessions.open_ranges_of(unanswered(known, since, end)), PAGE_MINUTES)
    closed = (end - since) // BAR_LENGTH - _count_minutes(sessions.open_ranges(since, end))
    return Plan(instrument, since, end, [Page(*page) for page in missing], note, closed)


def older_bars(name: str, limit: HistoryLimit, symbol: str) -> str:
    """What to do about bars that are older than feed `name` answers for."""
    return (
        f"{name} serves the newest {limit.minutes:,} minutes only; older bars are in {limit.archive}: load that with "
        f"`hybrid-ml backfill --source file --csv_path FILE --symbol {symbol}`"
    )


def plan_repair(engine: Engine, feed: Feed, instrument: Instrument) -> Plan:
    """What is missing of `instrument` since its first answered minute, and gaps that are due once more, newest first.

    Where its newest bars are missing the feed is asked whether it is still traded. Raises CalendarEnded.
    """
    with engine.connect() as connection:
        begin = first_covered(connection, instrument.symbol)
        now = feed.read_clock()
        if begin is None:
            return Plan(instrument, now, now, [])
        begin = max(begin, feed.limit.oldest(now)) if feed.limit is not None else begin
        known = read_coverage(connection, instrument.symbol, begin, now)
        sessions = read_calendar(connection, instrument.calendar)
    minute = now.replace(second=0, microsecond=0)
    silent = _count_minutes(sessions.open_ranges(_silent_since(known, begin), minute))
    if instrument.delisted_at is None and silent > SILENT_MINUTES:
        instrument, _ = _described(feed, instrument.symbol, instrument.feed_symbol)
        with engine.begin() as connection:
            keep_instrument(connection, instrument.symbol)
            instrument = save_instrument(connection, instrument)
    end = min(minute, instrument.delisted_at or now)
    wanted = sessions.open_ranges_of(unanswered(known, begin, end))
    missing = [Page(*page) for page in newest_first(wanted, PAGE_MINUTES)]
    due = [(max(at, begin), min(until, end)) for at, until in due_again(known, now) if at < end and until > begin]
    wanted_again = sessions.open_ranges_of(united(due, PAGE_MINUTES))
    again = [Page(*page, True) for page in newest_first(wanted_again, PAGE_MINUTES)]
    closed = (end - begin) // BAR_LENGTH - _count_minutes(sessions.open_ranges(begin, end))
    return Plan(instrument, begin, end, [*missing, *again], closed_minutes=closed)


def _count_minutes(ranges: list[tuple[datetime, datetime]]) -> int:
    return sum((end - begin) // BAR_LENGTH for begin, end in ranges)


def _described(feed: Feed, symbol: str, feed_symbol: str) -> tuple[Instrument, datetime]:
    """What the feed says of `feed_symbol`, its own name of `symbol`."""
    instrument, final = feed.describe(feed_symbol)
    return replace(instrument, symbol=symbol), final


def _silent_since(known: list[Span], begin: datetime) -> datetime:
    return max((span.end for span in known if span.state == "have"), default=begin)


def load_history(engine: Engine, feed: Feed, plan: Plan, on_minutes: Callable[[int], None]) -> Loaded:
    """Fetch and store the pages of `plan` in their order; `on_minutes` gets the minutes of each stored page.

    Ended at any moment, it has kept every page before, and the next plan continues there.
    """
    loaded = Loaded()
    for page in plan.pages:
        answer = feed.fetch(plan.instrument, page.begin, page.end)
        end = min(page.end, answer.final_through)
        recheck_at = None if page.is_last_time else recheck_time(answer.final_through)
        store_answer(engine, plan.instrument, page.begin, end, answer, loaded, recheck_at)
        on_minutes((page.end - page.begin) // BAR_LENGTH)
    return loaded


def recheck_time(final_through: datetime) -> datetime:
    """When a gap found now is asked about once more: on a whole hour, so that neighbouring gaps are one span."""
    return (final_through + RECHECK_AFTER).replace(minute=0, second=0, microsecond=0) + timedelta(hours=1)


def store_answer(
    engine: Engine,
    instrument: Instrument,
    begin: datetime,
    end: datetime,
    answer: Answer,
    loaded: Loaded,
    recheck_at: datetime | None,
) -> None:
    """Store bars, rejected rows and coverage of the minutes from `begin` to `end` in one transaction; count them.

    `recheck_at`: when minutes without a bar are asked about once more; None: never. Raises BadInput where the symbol
    was removed or renamed since it was planned.
    """
    traded = _is_traded(answer.rows)
    rows = answer.rows if traded.all() else answer.rows[traded]
    written = 0
    with engine.begin() as connection:
        keep_instrument(connection, instrument.symbol)
        bars, rejected = rows, NONE_REJECTED
        if not _agrees(rows, price_range_beside(connection, instrument.symbol, begin, end, JUDGES)):
            bars, rejected = _cleaned(rows, bars_beside(connection, instrument.symbol, begin, end, JUDGES))
        stated: dict[State, pd.Series] = {
            "no_trades": answer.rows["time"][~traded],
            "have": bars["time"],
            "unknown": _undecided(rejected, answer.final_through),
        }
        spans = _spans(begin, end, stated, answer.final_through, recheck_at)
        if len(bars):
            written = store_chunk(connection, instrument.symbol, bars).total
        store_rejected(connection, instrument.symbol, rejected.assign(source=instrument.feed))
        record_coverage(connection, instrument.symbol, spans)
    loaded.pages, loaded.written = loaded.pages + 1, loaded.written + written
    loaded.rejected += len(rejected)
    if not answer.rows.empty:
        newest = answer.rows["time"].iloc[-1].to_pydatetime()
        loaded.newest = max(newest, loaded.newest or newest)
    for span in spans:
        loaded.minutes[span.state] += span.minutes


def _is_traded(rows: pd.DataFrame) -> pd.Series:
    """False for a feed's own filling of a minute without trades; markets whose feed omits those look the same then."""
    filled = rows["volume"] == 0
    return ~(filled & (rows["trades"] == 0)) if "trades" in rows else ~filled


def _agrees(rows: pd.DataFrame, beside: tuple[float, float] | None) -> bool:
    """Whether `_cleaned` would reject nothing, seen at a fraction of its cost; `beside`: the prices of stored bars."""
    if rows.empty or not surely_clean(rows):
        return rows.empty
    low, high = beside or (np.inf, 0.0)
    return max(high, rows["high"].max()) < ABSURD_PRICE_RATIO * min(low, rows["low"].min())


def _cleaned(rows: pd.DataFrame, beside: pd.DataFrame) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Usable bars with all their columns, and rejected rows as in CleanBars; `beside`: stored bars around them.

    Rejected rows are numbered by their minute since 1970, which stays the same in whichever page they come.
    """
    found = clean_bars(pd.concat([beside, rows[BAR_COLUMNS]], ignore_index=True)).rejected
    rejected = found[found["row"] > len(beside)]
    bad = rejected["row"].to_numpy(dtype=np.intp) - 1 - len(beside)
    times = rows["time"].iloc[bad]
    kept = rows.drop(rows.index[bad]).reset_index(drop=True)
    return kept, rejected.assign(row=_minutes(times), time=times.to_numpy(dtype=object))


def _undecided(rejected: pd.DataFrame, final_through: datetime) -> pd.Series:
    """Times of rejected rows that later bars may show to be right: a change of level, or a price of a moment ago."""
    is_recent = rejected["time"] >= final_through - UNDECIDED
    return rejected["time"][(rejected["reason"] == NEW_LEVEL) | (rejected["reason"] == ABSURD_PRICE) & is_recent]


def _spans(
    begin: datetime,
    end: datetime,
    stated: Mapping[State, pd.Series],
    final_through: datetime,
    recheck_at: datetime | None,
) -> list[Span]:
    """What the answer says of each minute; one without a row is unknown while its bar may be late."""
    first = (begin - EPOCH) // BAR_LENGTH
    states = np.full(max((end - begin) // BAR_LENGTH, 0), "source_gap", dtype=object)
    late_from = (final_through - timedelta(minutes=LATE_MINUTES) - begin) // BAR_LENGTH
    states[max(late_from, 0) :] = "unknown"
    for state, times in stated.items():
        states[_minutes(times) - first] = state
    return [
        replace(span, recheck_at=recheck_at) if span.state in ("no_trades", "source_gap") else span
        for span in spans_of(begin, states)
    ]


def _minutes(times: pd.Series) -> NDArray[np.int64]:
    """Minutes since 1970."""
    return microseconds(times) // MINUTE_MICROSECONDS
