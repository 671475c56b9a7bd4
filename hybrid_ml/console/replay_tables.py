"""A replay's account on a terminal."""

from math import isfinite
from typing import Any

from rich.table import Table

from hybrid_ml.console.terminal import out
from hybrid_ml.evaluation.threshold_search import Advice, Half
from hybrid_ml.replay.result import ReplayReport
from hybrid_ml.reporting.wording import symbol_title
from hybrid_ml.text.counts import counted


def show_replay(report: ReplayReport) -> None:
    """What the replayed answers were worth, in all and week by week, beside guessing."""
    out.print(
        f"\n[bold]{symbol_title(report.symbol)}[/bold]  {counted(report.weeks, 'week')} from "
        f"{report.start:%Y-%m-%d %H:%M} UTC on: {counted(report.cycles, 'answer')} in {report.seconds:.1f} s"
    )
    columns = ("week", "rows", "accuracy", "majority", "log loss", "prior", "skill", "fine-tuning")
    table = Table(*columns, box=None, padding=(0, 2))
    for name, worth in [*[(str(week), item) for week, item in enumerate(report.weekly)], ("all", report.overall)]:
        if worth["rows"]:
            table.add_row(
                name,
                f"{worth['rows']:,}",
                f"{worth['accuracy']:.3f}",
                f"{worth['majority_accuracy']:.3f}",
                f"{worth['log_loss']:.4f}",
                f"{worth['prior_log_loss']:.4f}",
                f"{worth['skill']:+z.4f}",
                f"{worth['fine_tuning_gain']:+z.4f}",
            )
    out.print(table)
    if report.overall["rows"]:
        _show_worth(report.overall)
    out.print(
        f"  champions replaced {report.replaced}, kept {report.kept}; "
        f"fell back {counted(report.overall.get('fell_back', 0), 'time')}"
    )
    if report.window_gain:
        low, high = report.window_gain["gain_interval"]
        out.print(f"  80,000 rows {report.window_gain['gain']:+z.4f} nats under 23,000, {_reach(low, high)}")
    if report.advice:
        show_advice(report.advice)
    out.print(f"  finished weeks are kept in {report.folder}", soft_wrap=True, markup=False)
    out.print(f"  the report, with charts: {report.report_path / 'report.md'}", soft_wrap=True, markup=False)


def _show_worth(worth: dict[str, Any]) -> None:
    low, high = worth["skill_interval"]
    out.print(f"  skill {worth['skill']:+z.4f} nats under the class prior, 90 % interval {_reach(low, high)}")
    low, high = worth["fine_tuning_gain_interval"]
    out.print(f"  fine-tuning {worth['fine_tuning_gain']:+z.4f} nats under the base, {_reach(low, high)}")
    out.print(f"  guessing that it goes on like this would have had an accuracy of {worth['persistence_accuracy']:.3f}")
    sent = worth["signals"]
    if not sent["count"]:
        out.print("  no signal")
        return
    low, high = sent["precision_interval"]
    out.print(
        f"  {counted(sent['count'], 'signal')}: precision {sent['precision']:.3f} ({low:.3f} to {high:.3f}), "
        f"{sent['mean_return_bps']:+z.1f} bps each, {sent['mean_return_after_fee_bps']:+z.1f} after the fee"
    )


def _reach(low: float, high: float) -> str:
    """An interval; NaN edges are those of a single day."""
    return f"{low:+z.4f} to {high:+z.4f}" if isfinite(low) else "unknown from one day"


def show_advice(advice: Advice) -> None:
    """The settings tried that are worth showing, and the verdict."""
    out.print(f"\n[bold]Which setting gives a precision of {advice.wanted_precision:.2f}?[/bold]")
    table = Table(
        "setting", "found", "right", "bps", "shown", "right", "bps", box=None, padding=(0, 1), show_header=True
    )
    for setting in advice.settings:
        bounds = f"{setting.min_confidence:g}/{setting.min_prob_margin:g}/{setting.max_entropy:g}"
        mark = " advised" if setting == advice.advised else ""
        found, shown = _half(setting.found), _half(setting.shown)
        table.add_row(f"{setting.name or bounds}{mark}", *found, *shown)
    out.print(table)
    out.print(f"  {advice.verdict}")
    out.print(
        "  A setting is a preset or confidence/margin/entropy; signals and the share that was right, found before "
        f"{advice.split_at:%Y-%m-%d %H:%M} UTC among {advice.tried} settings, shown after it; basis points of each "
        "before/after the fee. The report has the intervals and says how to read them."
    )


def _half(half: Half) -> list[str]:
    if half.precision is None:
        return ["0", "-", "-"]
    return [
        f"{half.count:,}",
        f"{half.precision:.2f}",
        f"{half.mean_return_bps:+z.1f}/{half.mean_return_after_fee_bps:+z.1f}",
    ]
