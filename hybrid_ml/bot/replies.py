"""The texts of the bot's replies: HTML for Telegram, short enough for a phone."""

from collections.abc import Iterable
from datetime import UTC, datetime, tzinfo
from math import isnan
from typing import Any
from zoneinfo import ZoneInfo

from hybrid_ml.alerts.html import escaped
from hybrid_ml.evaluation.returns_section import format_t
from hybrid_ml.evaluation.symbol_record import measure_record
from hybrid_ml.market.bars import FUTURE_MINUTES, future_problem
from hybrid_ml.schemas.bot_status import BotStatus, LastAnswer, Pause, SymbolStatus
from hybrid_ml.schemas.requests import AnalysisRequest
from hybrid_ml.schemas.signal_record import FEE_BPS, PastSignal, SymbolRecord
from hybrid_ml.text.counts import counted

LONGEST_UNITS = 3_900
"""Telegram accepts 4,096 UTF-16 units of visible text; markup and entities are counted here as well, to be safe."""
STALE_MINUTES = float(AnalysisRequest.model_fields["max_bar_age_minutes"].default)
ZONE = str(AnalysisRequest.model_fields["sleep_timezone"].default)
"""The time zone of quiet hours, where a run states no other."""
ARROWS = {"down": "▼", "flat": "■", "up": "▲"}
HELP = """<b>Commands</b>
/status – bars, models, last answers, pending alerts
/signals – the last five signals and their outcomes; /signals 10 for ten
/record – how often signals were right, compared with guessing
/pause – no alerts to this chat for 24 hours; /pause 90 for 90 minutes, 7 days at most
/resume – alerts again
/help – this list"""
NO_DATABASE = "The database does not answer, so /{command} may not have been carried out. Try again in a minute."


def status(facts: BotStatus, now: datetime) -> str:
    """Each symbol's bars, model and last answer with their age; then the alerts, and whether this chat gets them."""
    blocks = [_symbol(symbol, now) for symbol in facts.symbols] or [
        "No bars in the database yet: <code>hybrid-ml backfill</code>."
    ]
    footer = [_deliveries(facts.deliveries), pause_line(facts.pause, now)]
    if facts.others_paused:
        footer.append(f"{counted(facts.others_paused, 'other chat')} paused")
    return _fitting(f"<b>Status</b> {_time(now)} UTC", blocks, "\n".join(footer))


def _symbol(facts: SymbolStatus, now: datetime) -> str:
    lines = [f"<b>{escaped(facts.symbol)}</b>"]
    if facts.newest_bar is None:
        lines.append("⚠ no bars")
    else:
        age_minutes = (now - facts.newest_bar).total_seconds() / 60 - 1
        judged = age_minutes if facts.open_minutes is None else min(age_minutes, facts.open_minutes)
        is_fresh = -FUTURE_MINUTES <= judged <= STALE_MINUTES
        mark = "" if is_fresh or (facts.closed_until and age_minutes > 0) else "⚠ "
        closed = future_problem(facts.newest_bar, now) or f"closed {_age(age_minutes)} ago"
        lines.append(f"{mark}newest bar {_time(facts.newest_bar, now)}, {closed}")
    if facts.closed_until:
        lines.append(f"market closed until {_time(facts.closed_until, now)}")
    if facts.calendar_problem:
        lines.append(f"⚠ {escaped(facts.calendar_problem)}")
    if facts.model_version is None or facts.model_trained_until is None:
        lines.append("⚠ no model yet")
    else:
        trained_minutes = (now - facts.model_trained_until).total_seconds() / 60
        version = facts.model_version.rpartition("@")[2]
        lines.append(f"model <code>{escaped(version)}</code>, trained until {_age(trained_minutes)} ago")
    if facts.last is not None and facts.last.recent_accuracy is not None:
        rows = counted(facts.last.recent_rows or 0, "recent row")
        lines.append(f"its accuracy was {facts.last.recent_accuracy:.0%} on {rows}")
    lines.append(_last(facts.last, now))
    return "\n".join(lines)


def _last(last: LastAnswer | None, now: datetime) -> str:
    if last is None:
        return "no answer yet"
    text = f"{_time(last.bar_time, now)} {ARROWS[last.direction]} {last.direction.upper()} {last.confidence:.0%}"
    if last.signal:
        return f"last answer {text}: signal"
    why = ", ".join(escaped(gate.replace("_", " ")) for gate in last.refused_by) or "no gate named"
    return f"last answer {text}: no signal ({why})"


def _deliveries(counts: dict[str, int]) -> str:
    waiting = counts.get("pending", 0) + counts.get("sending", 0)
    ended = ("sent", "unconfirmed", "refused", "expired", "paused", "logged")
    # "sent" is always shown: that none was sent matters.
    day = ", ".join(f"{counts.get(state, 0)} {state}" for state in ended if counts.get(state) or state == "sent")
    return f"Alerts: {waiting} waiting; last 24 hours: {day}"


def pause_line(pause: Pause | None, now: datetime) -> str:
    """Whether the chat gets alerts."""
    if pause is None:
        return "This chat gets alerts"
    place = ZONE.rpartition("/")[2].replace("_", " ")
    local = _time(pause.until, now, ZoneInfo(ZONE))
    return f"⏸ This chat is paused until {local} {place}, {_time(pause.until, now)} UTC"


def signals(recent: list[PastSignal], now: datetime) -> str:
    """The newest signals, one on each line."""
    if not recent:
        return "No signals yet: no answer passed every gate. /status shows the gates that refused the last answers."
    head = f"<b>Last {counted(len(recent), 'signal')}</b> (UTC)"
    return _fitting(head, [_signal(signal, now) for signal in recent], "", gap="\n")


def _signal(signal: PastSignal, now: datetime) -> str:
    text = (
        f"{_time(signal.bar_time, now)} {ARROWS[signal.direction]} <b>{escaped(signal.symbol)}</b> "
        f"{signal.direction.upper()} {signal.confidence:.0%}"
    )
    if signal.outcome is not None:
        came = "" if signal.forward_return is None else f" {signal.forward_return * 1e4:+z.1f} bps"
        return (
            f"{text} {'✓' if signal.outcome == signal.direction else '✗'} {signal.outcome}{came}{_from_entry(signal)}"
        )
    if signal.void_reason is not None:
        return f"{text} – no outcome: {escaped(signal.void_reason)}"
    return f"{text} … waiting"


def _from_entry(signal: PastSignal) -> str:
    """The movement from the first price at which it could have been followed."""
    if signal.entry_return is None:
        return ", not tradable" if signal.tradable is False else ""
    return f", {signal.entry_return * 1e4:+z.1f} from {_time(signal.entry_time or signal.bar_time, signal.bar_time)}"


def record(records: list[SymbolRecord], days: int) -> str:
    """For each symbol how often signals were right, with a 90 % interval, compared with a blind guess."""
    if not records:
        return f"No answers in the last {counted(days, 'day')}."
    return _fitting(f"<b>Record</b>, last {counted(days, 'day')}", [_record(accuracy) for accuracy in records], "")


def _record(facts: SymbolRecord) -> str:
    lines = [f"<b>{escaped(facts.symbol)}</b>"]
    figures = measure_record(facts, FEE_BPS)
    lines += _precision(figures) if facts.past else ["no signal with an outcome yet"]
    if facts.answers:
        lines.append(f"always saying {facts.guess}: {facts.guess_precision:.0%} of {counted(facts.answers, 'answer')}")
    if facts.past:
        lines += [
            f"{figures['per_day']:.1f} signals a day",
            f"close to close: mean {figures['mean_return_bps']:+z.1f} bps, median {figures['median_return_bps']:+z.1f}",
            *_entry(figures["entry"]),
        ]
    rest = [f"{count} {what}" for count, what in ((facts.waiting, "waiting"), (facts.void, "void")) if count]
    return "\n".join([*lines, ", ".join(rest)] if rest else lines)


def _precision(figures: dict[str, Any]) -> list[str]:
    low, high = figures["precision_interval_of_days"]
    right, precision = round(figures["precision"] * figures["count"]), figures["precision"]
    interval = "one day: no interval" if isnan(low) else f"90 %: {low:.0%} to {high:.0%}"
    return [f"right {right} of {figures['count']}: {precision:.0%} ({interval})"]


def _entry(entry: dict[str, Any]) -> list[str]:
    """What a person could have had, after the fee."""
    counts = ((entry["not_tradable"], "not tradable"), (entry["unknown"], "of unknown entry"))
    missed = ", ".join(f"{count} {what}" for count, what in counts if count)
    if not entry["traded"]:
        return [missed]
    mean, median = entry["mean_return_after_fee_bps"], entry["median_return_after_fee_bps"]
    return [
        f"from the next open, after {FEE_BPS:g} bps fee: mean {mean:+z.1f} bps, median {median:+z.1f}, "
        f"t over days {format_t(entry['t'])}; a guess {entry['guess_mean_return_after_fee_bps']:+z.1f}",
        f"sum {entry['total_bps']:+z,.0f} bps, drawdown {entry['drawdown_bps']:,.0f} bps",
        ", ".join(_filled([f"stale price {entry['stale_share']:.0%}", missed])),
    ]


def paused(pause: Pause | None, now: datetime) -> str:
    """After /pause. None when the requested minutes were over before the command was read."""
    if pause is None:
        return "That pause was over before the command was read; alerts continue."
    return f"{pause_line(pause, now)}. Alerts due before then are not sent later. /resume ends it."


def resumed() -> str:
    """After /resume."""
    return "▶ This chat gets alerts again."


def misunderstood(problem: str) -> str:
    """When the argument of a command is not valid."""
    return f"{escaped(problem)}.\n\n{HELP}"


def _fitting(head: str, blocks: list[str], foot: str, gap: str = "\n\n") -> str:
    """As many whole blocks as Telegram accepts, and the number of the others."""
    for kept in range(len(blocks), -1, -1):
        left_out = [f"… and {len(blocks) - kept} more"] if kept < len(blocks) else []
        text = gap.join(_filled([head, *blocks[:kept], *left_out, foot]))
        if len(text.encode("utf-16-le")) // 2 <= LONGEST_UNITS:
            return text
    return head


def _filled(parts: Iterable[str]) -> list[str]:
    return [part for part in parts if part]


def _time(moment: datetime, now: datetime | None = None, zone: tzinfo = UTC) -> str:
    """In `zone`; without the day when it is that of `now`."""
    moment = moment.astimezone(zone)
    today = now is not None and moment.date() == now.astimezone(zone).date()
    return f"{moment:%H:%M}" if today else f"{moment:%Y-%m-%d %H:%M}"


def _age(minutes: float) -> str:
    for unit, size in (("days", 1440), ("hours", 60)):
        if minutes >= 2 * size:
            return f"{minutes / size:,.0f} {unit}"
    return f"{max(0.0, minutes):.0f} min"
