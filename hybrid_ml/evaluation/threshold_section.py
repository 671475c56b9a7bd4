"""The section of a report about better bounds of confidence, margin and entropy."""

from hybrid_ml.evaluation.threshold_search import Advice, Half, Setting
from hybrid_ml.reporting.markdown import between, section, share, table
from hybrid_ml.text.counts import counted


def advice_section(advice: Advice, fee_bps: float) -> str:
    """The results of the bounds tried, on which answers they were chosen, and how reliable they are."""
    words = (
        f"{advice.tried} settings were tried on answers before {advice.split_at:%Y-%m-%d %H:%M} UTC; their results "
        "after that are shown beside it. The best of many is partly luck, so a setting counts as reaching the "
        "precision only if the corrected lower limit of its interval does: an error of 5 % divided by the "
        f"{counted(max(1, advice.different), 'different set')} of signals to choose from, signals within "
        "the same ten minutes counted once, twenty at least. Of those that reach it, the one with the most signals is "
        "advised. The second half decides whether that holds. Only the three bounds vary: an answer that another gate "
        f"refused stays refused, which leaves {advice.eligible:,} of {counted(advice.answers, 'answer')} to choose "
        "from; the penalty after poor recent signals and the limit on the signals of one run are not replayed again. "
        f"Returns are from close to close before the fee, the same after a fee of {fee_bps:g} bps, and from the entry, "
        "as a person could have had them, after it."
    )
    head = ["setting", "confidence", "margin", "entropy", "first half: signals", "coverage", "precision (90 %)",
            "lower limit", "return, bps", "second half: signals", "coverage", "precision (90 %)",
            "return, bps"]  # fmt: skip
    rows = [_setting_row(setting, advice.advised) for setting in advice.settings]
    question = f"Which setting gives a precision of {advice.wanted_precision:.2f}?"
    return section(question, f"**{advice.verdict}**", words, table(head, rows))


def _setting_row(setting: Setting, advised: Setting | None) -> list[str]:
    name = " ".join(word for word in (setting.name, "advised" if setting == advised else "") if word)
    bounds = (setting.min_confidence, setting.min_prob_margin, setting.max_entropy)
    found, shown = _half(setting.found), _half(setting.shown)
    sure = [share(setting.surely)]
    return [name, *(f"{bound:g}" for bound in bounds), *found[:3], *sure, *found[3:], *shown]


def _half(half: Half) -> list[str]:
    if half.precision is None or half.interval is None:
        return ["0", "0.00%", "–", "–"]
    tradable = "–" if half.mean_entry_return_after_fee_bps is None else f"{half.mean_entry_return_after_fee_bps:+z.1f}"
    returns = f"{half.mean_return_bps:+z.1f} / {half.mean_return_after_fee_bps:+z.1f} / {tradable}"
    precision = f"{half.precision:.3f} ({between(half.interval, '.3f')})"
    return [f"{half.count:,}", f"{half.coverage:.2%}", precision, returns]
