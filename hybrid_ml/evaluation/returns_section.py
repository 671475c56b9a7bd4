"""The section of a report about the returns of signals: from close to close, and as a person could have had them."""

from collections.abc import Iterable
from typing import Any

from hybrid_ml.reporting.markdown import between, section, share, table

HEAD = ["signals a day", "close to close, bps: mean (90 %)", "median", "after the fee", "from the entry, bps: mean",
        "median", "after the fee (90 %)", "median", "guess after the fee", "t over days", "sum, bps", "drawdown, bps",
        "stale price", "not tradable", "not known"]  # fmt: skip


def returns_section(first: list[str], lines: Iterable[tuple[list[str], dict[str, Any]]], fee_bps: float) -> str:
    """The table and what it means. `first`: heads of the first cells; `lines`: those cells, and `signals` of each."""
    words = (
        "**From close to close** measures the answers; nobody could trade at that first close, since the bar is "
        "over when the answer is made. **From the entry** is what a person could have had: in at the open of the "
        "first minute after the bar that was traded, out at the same last close. Spread, slippage and the time to "
        f"act are not in it. The fee is {fee_bps:g} bps a signal. The **guess** follows the more frequent direction "
        "of these rows on the same signals. **t over days** is the mean of the days' sums after the fee in standard "
        "errors, days without a signal included; between -2 and 2 it is no more than chance. **Sum** and "
        "**drawdown** are of the equity line: one unit on each signal, after the fee, and its deepest fall below "
        "its highest value until then. **Stale price**: the share of signals without a trade in the minute after "
        "their bar; **not tradable**: no trade before their ten minutes were over; **not known**: from before "
        "entries were kept, and their bars are gone."
    )
    rows = [[*names, *_cells(sent)] for names, sent in lines]
    return section("Returns of the signals", words, table([*first, *HEAD], rows))


def _cells(sent: dict[str, Any]) -> list[str]:
    if not sent["count"]:
        return ["0", *["–"] * (len(HEAD) - 1)]
    entry = sent["entry"]
    row = [
        f"{sent['per_day']:,.1f}",
        f"{sent['mean_return_bps']:+z.1f} ({between(sent['mean_return_interval_bps'], '+z.1f')})",
        *(f"{sent[name]:+z.1f}" for name in ("median_return_bps", "mean_return_after_fee_bps")),
        *(_entry_cells(entry) if entry["traded"] else ["–"] * 8),
    ]
    return [*row, share(entry["stale_share"]), f"{entry['not_tradable']:,}", f"{entry['unknown']:,}"]


def _entry_cells(entry: dict[str, Any]) -> list[str]:
    after = f"{entry['mean_return_after_fee_bps']:+z.1f}"
    return [
        *(f"{entry[name]:+z.1f}" for name in ("mean_return_bps", "median_return_bps")),
        f"{after} ({between(entry['mean_return_after_fee_interval_bps'], '+z.1f')})",
        *(f"{entry[name]:+z.1f}" for name in ("median_return_after_fee_bps", "guess_mean_return_after_fee_bps")),
        format_t(entry["t"]),
        f"{entry['total_bps']:+z,.0f}",
        f"{entry['drawdown_bps']:,.0f}",
    ]


def format_t(t: float | None) -> str:
    """t over days, or a dash where one day alone has answers."""
    return "–" if t is None else f"{t:+z.1f}"
