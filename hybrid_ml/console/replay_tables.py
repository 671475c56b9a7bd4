"""A replay's report on a terminal."""

from math import isfinite
from typing import Any

from rich.table import Table

from hybrid_ml.console.terminal import out
from hybrid_ml.evaluation.returns_section import format_t
from hybrid_ml.evaluation.threshold_search import Advice, Half
from hybrid_ml.replay.comparison import HEAD, comparison_rows
from hybrid_ml.replay.result import ReplayReport, ReplaysReport
from hybrid_ml.reporting.wording import symbol_title
from hybrid_ml.text.counts import counted

MISSED = {"not_tradable": "not tradable", "unknown": "of unknown entry"}
"""Signals without an entry, by their name in `measure_entries`."""


def show_replays(report: ReplayReport | ReplaysReport) -> None:
    """The report of one symbol, or of each and then all side by side."""
    if isinstance(report, ReplayReport):
        show_replay(report)
        return
    for one in report.replays:
        show_replay(one)
    out.print("\n[bold]Side by side[/bold]")
    table = Table("", *(one.symbol for one in report.replays), box=None, padding=(0, 2))
    for name, *cells in zip(HEAD[1:], *(row[1:] for row in comparison_rows(report.replays)), strict=True):
        table.add_row(name, *cells)
    out.print(table)
    out.print(f"  the same as a page: {report.comparison_path}", soft_wrap=True, markup=False)


def show_replay(report: ReplayReport) -> None:
    """Metrics of the replayed answers, in all and week by week, compared with guessing."""
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
    out.print(f"  persistence, the last ten minutes repeated, has an accuracy of {worth['persistence_accuracy']:.3f}")
    sent = worth["signals"]
    if not sent["count"]:
        out.print("  no signal")
        return
    low, high = sent["precision_interval"]
    out.print(
        f"  {counted(sent['count'], 'signal')}, {sent['per_day']:.1f} a day: precision {sent['precision']:.3f} "
        f"({low:.3f} to {high:.3f}), blind guess {worth['blind_precision']:.3f}"
    )
    out.print(
        f"  from close to close {sent['mean_return_bps']:+z.1f} bps each, median {sent['median_return_bps']:+z.1f}, "
        f"{sent['mean_return_after_fee_bps']:+z.1f} after the fee"
    )
    for line in entry_lines(sent["entry"]):
        out.print(f"  {line}")


def entry_lines(entry: dict[str, Any]) -> list[str]:
    """What a person could have had, as returned by `measure_entries`, in lines."""
    missed = [f"{entry[name]:,} {words}" for name, words in MISSED.items() if entry[name]]
    if not entry["traded"]:
        return [f"no signal with an entry: {', '.join(missed)}"]
    return [
        f"from the entry {entry['mean_return_bps']:+z.1f} bps each, median {entry['median_return_bps']:+z.1f}, "
        f"{entry['mean_return_after_fee_bps']:+z.1f} after the fee, "
        f"{entry['guess_mean_return_after_fee_bps']:+z.1f} of a guess",
        f"t over days {format_t(entry['t'])}, sum {entry['total_bps']:+z,.0f} bps, drawdown "
        f"{entry['drawdown_bps']:,.0f} bps",
        ", ".join([f"stale price: {entry['stale_share']:.1%} of them", *missed]),
    ]


def _reach(low: float, high: float) -> str:
    """An interval; NaN limits are those of a single day."""
    return f"{low:+z.4f} to {high:+z.4f}" if isfinite(low) else "unknown from one day"


def show_advice(advice: Advice) -> None:
    """The settings worth showing, and the verdict."""
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
        "from close to close before the fee/from the entry after it. The report has the intervals and explains the "
        "columns."
    )


def _half(half: Half) -> list[str]:
    if half.precision is None:
        return ["0", "-", "-"]
    entry = "-" if half.mean_entry_return_after_fee_bps is None else f"{half.mean_entry_return_after_fee_bps:+z.1f}"
    return [f"{half.count:,}", f"{half.precision:.2f}", f"{half.mean_return_bps:+z.1f}/{entry}"]
