"""The record of a symbol's newest signals, in lines short enough for a phone."""

from math import isnan
from typing import Any

from hybrid_ml.evaluation.returns_section import format_t
from hybrid_ml.evaluation.symbol_record import measure_record
from hybrid_ml.schemas.signal_record import FEE_BPS, SymbolRecord


def record_lines(record: SymbolRecord) -> list[str]:
    """How many signals were right, beside guessing, and what a person could have had of them after the fee."""
    if not record.past:
        return ["no resolved signal yet"]
    figures, count = measure_record(record, FEE_BPS), len(record.past)
    right = round(figures["precision"] * count)
    if count == 1:
        first = [f"one resolved signal so far: {'right' if right else 'wrong'}"]
    else:
        first = [f"{right} of the last {count} signals right: {100 * figures['precision']:.0f} %", _interval(figures)]
    guess = f"always saying {record.guess}: {100 * record.guess_precision:.0f} % right"
    return [*first, guess, f"{figures['per_day']:.1f} signals a day", *entry_lines(figures["entry"])]


def _interval(figures: dict[str, Any]) -> str:
    low, high = figures["precision_interval_of_days"]
    return "(one day: no interval)" if isnan(low) else f"(90 % interval {100 * low:.0f} to {100 * high:.0f} %)"


def entry_lines(entry: dict[str, Any]) -> list[str]:
    """The return from the entry after the fee, beside that of a guess, as returned by `measure_entries`."""
    stale = f"stale price {100 * (entry['stale_share'] or 0):.0f} %" if entry["traded"] and entry["stale_share"] else ""
    counts = ((entry["not_tradable"], "not tradable"), (entry["unknown"], "not known"))
    rest = ", ".join([*filter(None, [stale]), *(f"{count} {what}" for count, what in counts if count)])
    if not entry["traded"]:
        return [rest]
    return [
        f"from the next open, after {FEE_BPS:g} bps fee:",
        f"mean {entry['mean_return_after_fee_bps']:+z.1f}, median {entry['median_return_after_fee_bps']:+z.1f} bps",
        f"a guess {entry['guess_mean_return_after_fee_bps']:+z.1f} bps, t over days {format_t(entry['t'])}",
        *filter(None, [rest]),
    ]
