"""The daily summary for a chat."""

from html import escape
from typing import Any

from hybrid_ml.reporting.wording import symbol_title
from hybrid_ml.review.findings import SymbolDrift, not_judged, verdict_without_alarm
from hybrid_ml.review.result import ReviewReport
from hybrid_ml.text.counts import counted

LONGEST_SUMMARY = 4_000
"""Telegram accepts 4,096 characters of text."""
OUTAGE = " (no analysis ran, or there were no new bars)"


def summary_text(report: ReviewReport) -> str:
    """HTML for Telegram: findings first, then the last day and the whole period, then alerts."""
    lines = [
        f"<b>Review {report.as_of:%Y-%m-%d %H:%M} UTC</b>",
        *(f"⚠️ {escape(sentence)}" for sentence in report.found),
        *([] if report.found else [verdict_without_alarm(report.watches, len(report.failures))]),
        *(f"❌ not judged: {escape(failure.symbol)} (it failed)" for failure in report.failures),
        *(_not_judged(watch) for watch in report.watches if not_judged(watch)),
        f"last 24 h: {_format_metrics(report.newest_day)}{OUTAGE if not report.newest_day['answers'] else ''}",
        f"since {report.since:%Y-%m-%d}: {_format_metrics(report.overall)}",
        *(f"{_title(part)}: {_format_metrics(part)}" for part in report.parts if part["signals_in_all"]),
        _alerts(report),
    ]
    return _shortened(lines)


def _not_judged(watch: SymbolDrift) -> str:
    return f"❔ not judged: {escape(symbol_title(watch.symbol))} ({'; '.join(not_judged(watch))})"


def _title(part: dict[str, Any]) -> str:
    return f"<b>{escape(symbol_title(part['symbol']))}</b> {escape(part['preset'])}"


def _format_metrics(worth: dict[str, Any]) -> str:
    sent = worth.get("signals", {"count": 0})
    message = f"{counted(worth['answers'], 'answer')}, {counted(worth['signals_in_all'], 'signal')}"
    if not sent["count"]:
        return message
    low, high = sent["precision_interval"]
    right = round(sent["precision"] * sent["count"])
    precision = f"{right:,} of {sent['count']:,} right ({sent['precision']:.0%}, 90 %: {low:.0%} to {high:.0%})"
    return f"{message}, {precision}{_from_entry(sent['entry'])}"


def _from_entry(entry: dict[str, Any]) -> str:
    if not entry["traded"]:
        return ""
    mean, guess = entry["mean_return_after_fee_bps"], entry["guess_mean_return_after_fee_bps"]
    return f", {mean:+z.1f} bps each from the entry after the fee (a guess {guess:+z.1f})"


def _alerts(report: ReviewReport) -> str:
    counts: dict[str, int] = {}
    for delivery in report.deliveries:
        if delivery.kind == "signal":
            counts[delivery.state] = counts.get(delivery.state, 0) + delivery.count
    late = sum(delivery.late for delivery in report.deliveries if delivery.kind == "signal")
    message = ", ".join(f"{count:,} {state}" for state, count in sorted(counts.items()))
    return f"alerts: {message or 'none'}{f'; {late:,} of them late' if late else ''}"


def _shortened(lines: list[str]) -> str:
    """As many whole lines as fit, and the number of the others; a cut inside a line could cut a tag in two."""
    if len("\n".join(lines)) <= LONGEST_SUMMARY:
        return "\n".join(lines)
    kept: list[str] = []
    for line in lines:
        if len("\n".join([*kept, line])) > LONGEST_SUMMARY - 100:
            break
        kept.append(line)
    left_out = counted(len(lines) - len(kept), "more line")
    return "\n".join([*kept, f"and {left_out}; see the review in the Prefect UI"])
