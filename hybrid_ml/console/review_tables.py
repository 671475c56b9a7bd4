"""A review on a terminal: the verdict, then the tables."""

from typing import Any

from rich.markup import escape
from rich.table import Table

from hybrid_ml.console.replay_tables import show_advice
from hybrid_ml.console.run_tables import show_failures
from hybrid_ml.console.terminal import CROSS, TICK, out
from hybrid_ml.evaluation.returns_section import format_t
from hybrid_ml.reporting.wording import symbol_title
from hybrid_ml.review.findings import SymbolDrift, chance, not_judged, verdict_without_alarm
from hybrid_ml.review.result import ReviewReport


def show_review(report: ReviewReport) -> None:
    """The findings, the metrics of the answers, and the deliveries of the alerts."""
    out.print(f"\n[bold]Review[/bold]  {report.since:%Y-%m-%d} to {report.as_of:%Y-%m-%d %H:%M} UTC")
    for sentence in report.found:
        out.print(f"{CROSS} {escape(sentence)}")
    if not report.overall["answers"]:
        out.print("  The ledger holds no answers of this time: there is nothing to review yet.")
    elif not report.found:
        message = verdict_without_alarm(report.watches, len(report.failures))
        out.print(f"{TICK} {message}" if message.startswith("Nothing found:") else f"  {message}")
    for watch in report.watches:
        for message in not_judged(watch):
            out.print(f"  not judged: {escape(watch.symbol)}, {message}")
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
    answers = _table("symbol", "preset", "answers", "resolved", "void", "accuracy", "majority")
    signals = _table("symbol", "preset", "signals", "precision (90 %)", "blind", "false positives")
    returns = _table("symbol", "preset", "a day", "bps", "entry", "after fee", "guess", "t", "stale")
    for part in [*report.parts, report.overall]:
        names = [symbol_title(part["symbol"]), part["preset"]] if part["symbol"] else ["all", ""]
        counts = [f"{part[name]:,}" for name in ("answers", "resolved", "void")]
        judged = [_share(part.get(name)) for name in ("accuracy", "majority_accuracy")]
        answers.add_row(*map(escape, names), *counts, *judged)
        signals.add_row(*map(escape, names), f"{part['signals_in_all']:,}", *_signals(part))
        returns.add_row(*map(escape, names), *_returns(part))
    out.print(answers)
    out.print(signals)
    out.print(returns)
    out.print(f"  bps: from close to close; entry: from the next traded open; fee: {report.fee_bps:g} bps")


def _table(*names: str, folded: int = 1) -> Table:
    """A table whose first `folded` columns are wrapped on a narrow terminal; numbers are not."""
    table = Table(box=None, padding=(0, 1))
    for place, name in enumerate(names):
        table.add_column(name, no_wrap=place >= folded, overflow="fold")
    return table


def _signals(part: dict[str, Any]) -> list[str]:
    sent = part.get("signals", {"count": 0})
    if not sent["count"]:
        return ["-", _share(part.get("blind_precision")), "-"]
    low, high = sent["precision_interval"]
    precision = f"{sent['precision']:.2f} ({low:.2f}-{high:.2f})"
    return [precision, _share(part["blind_precision"]), _share(sent["false_positive_rate"])]


def _returns(part: dict[str, Any]) -> list[str]:
    sent = part.get("signals", {"count": 0})
    if not sent["count"]:
        return ["-"] * 7
    entry = sent["entry"]
    row = [f"{sent['per_day']:.1f}", f"{sent['mean_return_bps']:+z.1f}"]
    figures = ["mean_return_bps", "mean_return_after_fee_bps", "guess_mean_return_after_fee_bps"]
    traded = [*(f"{entry[name]:+z.1f}" for name in figures), format_t(entry["t"])] if entry["traded"] else ["-"] * 4
    return [*row, *traded, _share(entry["stale_share"])]


def _show_watches(watches: list[SymbolDrift]) -> None:
    features, accuracy = (
        _table("symbol", "moved most", "features", folded=2),
        _table("symbol", "accuracy", "signals right", "stated", "chance"),
    )
    for watch in watches:
        sent, stream = watch.signals, watch.correctness
        moved = ", ".join(str(feature) for feature in watch.features.moved[:2])
        features.add_row(escape(watch.symbol), moved or "-", chance(watch.features.p))
        unchanged = "as it was" if stream.answers else "-"
        accuracy.add_row(
            escape(watch.symbol),
            f"changed {stream.changes[-1].at:%Y-%m-%d}" if stream.changes else unchanged,
            f"{sent.right} of {sent.signals}" if sent.signals else "-",
            _share(sent.mean_confidence),
            chance(sent.p),
        )
    out.print(features)
    out.print(accuracy)


def _show_deliveries(report: ReviewReport) -> None:
    table = _table("chat", "alert", "state", "count", "late", "median, s")
    for delivery in report.deliveries:
        median = "-" if delivery.median_seconds is None else f"{delivery.median_seconds:,.1f}"
        table.add_row(
            escape(delivery.chat_id) or "log",
            delivery.kind,
            delivery.state,
            f"{delivery.count:,}",
            f"{delivery.late:,}",
            median,
        )
    out.print(table)


def _share(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"
