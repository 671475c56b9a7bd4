"""What the bot says: facts as HTML the way Telegram takes it, short enough for a phone."""

from collections.abc import Iterable
from datetime import UTC, datetime, tzinfo
from zoneinfo import ZoneInfo

from hybrid_ml.alerts.html import escaped
from hybrid_ml.learning.intervals import wilson
from hybrid_ml.schemas.bot_status import LastAnswer, PastSignal, Pause, Status, SymbolRecord, SymbolStatus
from hybrid_ml.schemas.requests import AnalysisRequest
from hybrid_ml.text.counts import counted

LONGEST_UNITS = 3_900
"""Telegram takes 4,096 UTF-16 units of visible text; markup and entities are counted here as well, to be safe."""
STALE_MINUTES = float(AnalysisRequest.model_fields["max_bar_age_minutes"].default)
ZONE = str(AnalysisRequest.model_fields["sleep_timezone"].default)
"""The zone whose clock quiet hours go by, where a run states no other."""
ARROWS = {"down": "▼", "flat": "■", "up": "▲"}
HELP = """<b>Commands</b>
/status – bars, models, last answers, alerts under way
/signals – the last five signals and what came of them; /signals 10 for ten
/record – how often signals were right, beside guessing
/pause – no alerts to this chat for 24 hours; /pause 90 for 90 minutes, 7 days at most
/resume – alerts again
/help – this list"""
NO_DATABASE = "The database does not answer, so /{command} may not have been carried out. Ask again in a minute."


def status(facts: Status, now: datetime) -> str:
    """Symbol by symbol what there is and how old; then the alerts under way, and whether this chat hears them."""
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
        mark = "⚠ " if age_minutes > STALE_MINUTES else ""
        lines.append(f"{mark}newest bar {_time(facts.newest_bar, now)}, closed {_age(age_minutes)} ago")
    if facts.model_version is None or facts.model_trained_until is None:
        lines.append("⚠ no model yet")
    else:
        trained_minutes = (now - facts.model_trained_until).total_seconds() / 60
        version = facts.model_version.rpartition("@")[2]
        lines.append(f"model <code>{escaped(version)}</code>, trained until {_age(trained_minutes)} ago")
    lines.append(_last(facts.last, now))
    return "\n".join(lines)


def _last(last: LastAnswer | None, now: datetime) -> str:
    if last is None:
        return "no answer yet"
    text = f"{_time(last.bar_time, now)} {ARROWS[last.direction]} {last.direction.upper()} {last.confidence:.0%}"
    if last.signal:
        return f"last answer {text}: signal"
    why = ", ".join(escaped(gate.replace("_", " ")) for gate in last.refused_by) or "no gate named"
    degraded = "; the model is under the bar" if last.degraded else ""
    return f"last answer {text}: no signal ({why}{degraded})"


def _deliveries(counts: dict[str, int]) -> str:
    waiting = counts.get("pending", 0) + counts.get("sending", 0)
    ended = ("sent", "unconfirmed", "refused", "expired", "paused", "logged")
    # "sent" always shows: that none was sent is news.
    day = ", ".join(f"{counts.get(state, 0)} {state}" for state in ended if counts.get(state) or state == "sent")
    return f"Alerts: {waiting} waiting; last 24 hours: {day}"


def pause_line(pause: Pause | None, now: datetime) -> str:
    """Whether the chat hears alerts."""
    if pause is None:
        return "This chat gets alerts"
    place = ZONE.rpartition("/")[2].replace("_", " ")
    local = _time(pause.until, now, ZoneInfo(ZONE))
    return f"⏸ This chat is paused until {local} {place}, {_time(pause.until, now)} UTC"


def signals(recent: list[PastSignal], now: datetime) -> str:
    """The newest signals, one a line."""
    if not recent:
        return "No signals yet: nothing was sure enough. /status says what refused the last answers."
    head = f"<b>Last {counted(len(recent), 'signal')}</b> (UTC)"
    return _fitting(head, [_signal(signal, now) for signal in recent], "", gap="\n")


def _signal(signal: PastSignal, now: datetime) -> str:
    text = (
        f"{_time(signal.bar_time, now)} {ARROWS[signal.direction]} <b>{escaped(signal.symbol)}</b> "
        f"{signal.direction.upper()} {signal.confidence:.0%}"
    )
    if signal.outcome is not None:
        came = "" if signal.forward_return is None else f" {signal.forward_return * 1e4:+z.1f} bps"
        return f"{text} {'✓' if signal.outcome == signal.direction else '✗'} {signal.outcome}{came}"
    if signal.void_reason is not None:
        return f"{text} – no outcome: {escaped(signal.void_reason)}"
    return f"{text} … waiting"


def record(records: list[SymbolRecord], days: int) -> str:
    """Symbol by symbol how often signals were right, with a 90 % interval, beside what guessing blindly would give."""
    if not records:
        return f"No answers in the last {counted(days, 'day')}."
    return _fitting(f"<b>Record</b>, last {counted(days, 'day')}", [_record(accuracy) for accuracy in records], "")


def _record(facts: SymbolRecord) -> str:
    lines = [f"<b>{escaped(facts.symbol)}</b>"]
    if facts.signals:
        low, high = wilson(facts.right, facts.signals)
        share = facts.right / facts.signals
        lines.append(f"right {facts.right} of {facts.signals}: {share:.0%} (90 %: {low:.0%} to {high:.0%})")
    else:
        lines.append("no signal with an outcome yet")
    if facts.answers:
        blind, way = max((facts.ups, "up"), (facts.downs, "down"))
        lines.append(f"always saying {way}: {blind / facts.answers:.0%} of {counted(facts.answers, 'answer')}")
    if facts.mean_return_bps is not None:
        lines.append(f"mean return {facts.mean_return_bps:+z.1f} bps before fees")
    rest = [f"{count} {what}" for count, what in ((facts.waiting, "waiting"), (facts.void, "void")) if count]
    return "\n".join([*lines, ", ".join(rest)] if rest else lines)


def paused(pause: Pause | None, now: datetime) -> str:
    """After /pause. None when the minutes asked for were over before the command was read."""
    if pause is None:
        return "That pause was over before I could read it; alerts go on."
    return f"{pause_line(pause, now)}. What falls due meanwhile is not sent later. /resume ends it."


def resumed() -> str:
    """After /resume."""
    return "▶ This chat gets alerts again."


def misunderstood(problem: str) -> str:
    """When the argument of a command cannot be used."""
    return f"{escaped(problem)}.\n\n{HELP}"


def _fitting(head: str, blocks: list[str], foot: str, gap: str = "\n\n") -> str:
    """As many whole blocks as Telegram takes, and how many are left out."""
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
