"""Which minutes a feed has answered, and what: spans of one state, and the minutes that are still to be asked.

A span covers the minutes that open from `begin` until before `end`.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from itertools import groupby
from typing import Literal

from hybrid_ml.market.bars import BAR_LENGTH

State = Literal["have", "no_trades", "source_gap", "unknown"]
"""have: a bar; no_trades: the feed says that nothing was traded; source_gap: it has no usable bar;
unknown: it had no bar yet when it was asked."""


@dataclass(frozen=True)
class Span:
    """Minutes of one state."""

    begin: datetime
    end: datetime
    state: State
    recheck_at: datetime | None = None
    """When minutes without a bar are asked about once more; None: never again."""

    @property
    def minutes(self) -> int:
        return (self.end - self.begin) // BAR_LENGTH


def spans_of(begin: datetime, states: Iterable[State]) -> list[Span]:
    """The spans of consecutive minutes from `begin` on, given the state of each minute."""
    spans = []
    for state, group in groupby(states):
        end = begin + sum(1 for _ in group) * BAR_LENGTH
        spans.append(Span(begin, end, state))
        begin = end
    return spans


def replaced(old: Iterable[Span], new: Iterable[Span]) -> list[Span]:
    """`old` spans where `new` says nothing, and `new`, in order of time; neighbours of one state become one span."""
    new = sorted(new, key=lambda span: span.begin)
    if not new:
        return sorted(old, key=lambda span: span.begin)
    kept = without(old, new[0].begin, new[-1].end)
    return list(_joined(sorted([*kept, *new], key=lambda span: span.begin)))


def without(spans: Iterable[Span], begin: datetime, end: datetime) -> list[Span]:
    """What `spans` say of the minutes before `begin` and from `end` on, in order of time."""
    spans = sorted(spans, key=lambda span: span.begin)
    before = [replace(span, end=min(span.end, begin)) for span in spans if span.begin < begin]
    after = [replace(span, begin=max(span.begin, end)) for span in spans if span.end > end]
    return [*before, *after]


def _joined(spans: Iterable[Span]) -> Iterator[Span]:
    last: Span | None = None
    for span in spans:
        if last is not None and (last.end, last.state, last.recheck_at) == (span.begin, span.state, span.recheck_at):
            last = replace(last, end=span.end)
            continue
        if last is not None:
            yield last
        last = span
    if last is not None:
        yield last


def unanswered(spans: Iterable[Span], begin: datetime, end: datetime) -> list[tuple[datetime, datetime]]:
    """The ranges between `begin` and `end` that are in no span, or in one of state unknown, in order of time."""
    missing, at = [], begin
    for span in sorted(spans, key=lambda span: span.begin):
        if span.state == "unknown":
            continue
        if span.begin > at:
            missing.append((at, min(span.begin, end)))
        at = max(at, span.end)
        if at >= end:
            return missing
    return [*missing, (at, end)] if at < end else missing


def due_again(spans: Iterable[Span], now: datetime) -> list[tuple[datetime, datetime]]:
    """The ranges without a bar that are to be asked about once more at `now`, in order of time."""
    due = (span for span in spans if span.recheck_at is not None and span.recheck_at <= now)
    return sorted((span.begin, span.end) for span in due)


def united(ranges: Iterable[tuple[datetime, datetime]], gap_minutes: int) -> list[tuple[datetime, datetime]]:
    """`ranges` in order of time, those at most `gap_minutes` apart as one: few long requests instead of many short."""
    found: list[tuple[datetime, datetime]] = []
    for begin, end in sorted(ranges):
        if found and begin - found[-1][1] <= gap_minutes * BAR_LENGTH:
            found[-1] = found[-1][0], max(found[-1][1], end)
        else:
            found.append((begin, end))
    return found


def newest_first(ranges: Iterable[tuple[datetime, datetime]], minutes: int) -> Iterator[tuple[datetime, datetime]]:
    """`ranges`, in order of time, cut into pages of at most `minutes` from their ends on, the newest page first."""
    for begin, end in reversed(list(ranges)):
        until = end
        while until > begin:
            at = max(until - timedelta(minutes=minutes), begin)
            yield at, until
            until = at


def pages(ranges: Iterable[tuple[datetime, datetime]], minutes: int) -> Iterator[tuple[datetime, datetime]]:
    """`ranges` cut into pages of at most `minutes`, by time alone, not by what a page holds."""
    for begin, end in ranges:
        at = begin
        while at < end:
            until = min(at + timedelta(minutes=minutes), end)
            yield at, until
            at = until
