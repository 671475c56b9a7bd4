"""Several replayed symbols side by side, as a page."""

from collections.abc import Sequence
from typing import Any

from hybrid_ml.evaluation.returns_section import format_t
from hybrid_ml.replay.result import ReplayReport
from hybrid_ml.reporting.markdown import between, share, table
from hybrid_ml.reporting.wording import symbol_title
from hybrid_ml.text.counts import counted

HEAD = ["symbol", "answers", "signals", "signals a day", "share right (days, 90 %)", "blind guess",
        "from the entry after the fee, bps: mean (90 %)", "median", "guess", "t over days",
        "skill, nats (90 %)"]  # fmt: skip


def comparison_markdown(reports: Sequence[ReplayReport]) -> str:
    """A row for each of `reports`, at least one; they are of the same weeks and were judged by the same request."""
    first = reports[0]
    words = (
        f"{counted(first.weeks, 'week')} from {first.start:%Y-%m-%d %H:%M} UTC on. Signals by {first.judged_by}; a fee "
        f"of {first.fee_bps:g} bps a signal. The blind guess always names the more frequent direction; the guess "
        "beside the returns follows it on the same signals. Returns are from the next traded price to the close ten "
        "minutes after the bar. t over days between -2 and 2 is no more than chance, and the best of several symbols "
        "is partly luck. Skill above 0 is better than stating the class shares of the training window. Each symbol's "
        "own report has the rest."
    )
    return f"# Replays side by side\n\n{words}\n\n{table(HEAD, comparison_rows(reports))}\n"


def comparison_rows(reports: Sequence[ReplayReport]) -> list[list[str]]:
    """The cells under HEAD of each report; a dash where there is nothing to measure."""
    return [_row(report) for report in reports]


def _row(report: ReplayReport) -> list[str]:
    worth, name = report.overall, symbol_title(report.symbol)
    if not worth["rows"]:
        return [name, "0", *["–"] * (len(HEAD) - 2)]
    sent = worth["signals"]
    right, returns = "–", ["–"] * 4
    if sent["count"]:
        right = f"{share(sent['precision'])} ({between(sent['precision_interval_of_days'], '.3f')})"
        returns = _returns(sent["entry"]) if sent["entry"]["traded"] else returns
    return [
        name,
        f"{worth['rows']:,}",
        f"{sent['count']:,}",
        f"{sent['per_day']:,.1f}" if sent["count"] else "0",
        right,
        share(worth["blind_precision"]),
        *returns,
        f"{worth['skill']:+z.4f} ({between(worth['skill_interval'], '+z.4f')})",
    ]


def _returns(entry: dict[str, Any]) -> list[str]:
    mean, edges = entry["mean_return_after_fee_bps"], entry["mean_return_after_fee_interval_bps"]
    return [
        f"{mean:+z.1f} ({between(edges, '+z.1f')})",
        f"{entry['median_return_after_fee_bps']:+z.1f}",
        f"{entry['guess_mean_return_after_fee_bps']:+z.1f}",
        format_t(entry["t"]),
    ]
