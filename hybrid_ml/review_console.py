"""A review on a terminal: the verdict, then the tables."""

from typing import Any

from rich.markup import escape
from rich.table import Table

from hybrid_ml.console import show_failures
from hybrid_ml.replay_console import show_advice
from hybrid_ml.reports import ReviewReport
from hybrid_ml.review.findings import Watch, chance
from hybrid_ml.summaries import symbol_title
from hybrid_ml.terminal import CROSS, TICK, out


def show_review(report: ReviewReport) -> None:
    """What was found, what the answers were worth, and what became of the alerts."""
    out.print(f"\n[bold]Review[/bold]  {report.since:%Y-%m-%d} to {report.as_of:%Y-%m-%d %H:%M} UTC")
    for sentence in report.found:
        out.print(f"{CROSS} {escape(sentence)}")
    if not report.overall["answers"]:
        out.print("  The ledger holds no answers of this time: there is nothing to look back on yet.")
    elif not report.found:
        out.print(f"{TICK} Nothing found: neither drift of the features nor a fallen record.")
    for watch in report.watches:
        if watch.features.p is None:
            out.print(f"  {escape(watch.symbol)}, features: {watch.features.told}")
    if report.overall["answers"]:
        _show_answers(report)
    if report.watches:
        _show_watches(report.watches)
    if report.deliveries:
        _show_deliveries(report)
    if report.advice:
        show_advice(report.advice)
    if report.report_path:
        out.print(f"  the report, with charts: {report.report_path / 'review.md'}", soft_wrap=True, markup=False)
    show_failures(report.failures)


def _show_answers(report: ReviewReport) -> None:
    columns = ("symbol", "preset", "answers", "resolved", "void", "accuracy", "majority", "signals", "precision",
               "false positives", "bps")  # fmt: skip
    table = Table(*columns, box=None, padding=(0, 1))
    for part in [*report.parts, report.overall]:
        names = [symbol_title(part["symbol"]), part["preset"]] if part["symbol"] else ["all", ""]
        counts = [f"{part[name]:,}" for name in ("answers", "resolved", "void")]
        judged = [_share(part.get(name)) for name in ("accuracy", "majority_accuracy")]
        table.add_row(*map(escape, names), *counts, *judged, f"{part['signals_in_all']:,}", *_signals(part))
    out.print(table)


def _signals(part: dict[str, Any]) -> list[str]:
    sent = part.get("signals", {"count": 0})
    if not sent["count"]:
        return ["-", "-", "-"]
    low, high = sent["precision_interval"]
    precision = f"{sent['precision']:.2f} ({low:.2f}-{high:.2f})"
    return [precision, _share(sent["false_positive_rate"]), f"{sent['mean_return_bps']:+.1f}"]


def _show_watches(watches: list[Watch]) -> None:
    table = Table("symbol", "features", "moved most", "accuracy", "signals right", "stated", "chance", box=None,
                  padding=(0, 1))  # fmt: skip
    for watch in watches:
        features, sent, changes = watch.features, watch.signals, watch.correctness.changes
        table.add_row(
            escape(watch.symbol),
            chance(features.p),
            ", ".join(str(each) for each in features.moved[:2]) or "-",
            f"changed {changes[-1].at:%Y-%m-%d}" if changes else "as it was",
            f"{sent.right} of {sent.signals}",
            _share(sent.mean_confidence),
            chance(sent.p),
        )
    out.print(table)


def _show_deliveries(report: ReviewReport) -> None:
    table = Table("alert", "chat", "state", "count", "late", "median, s", box=None, padding=(0, 2))
    for each in report.deliveries:
        median = "-" if each.median_seconds is None else f"{each.median_seconds:,.1f}"
        table.add_row(each.kind, escape(each.chat_id) or "log", each.state, f"{each.count:,}", f"{each.late:,}", median)
    out.print(table)


def _share(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"
