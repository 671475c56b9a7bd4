"""The section of a report about bounds of confidence, margin and entropy that would have given more."""

from hybrid_ml.evaluation.threshold_search import Advice, Half, Setting
from hybrid_ml.reporting.markdown import between, section, share, table
from hybrid_ml.text.counts import counted


def advice_section(advice: Advice, fee_bps: float) -> str:
    """Which bounds would have given what, on which answers that was found, and how far it is to be relied on."""
    words = (
        f"{advice.tried} settings were tried on answers before {advice.split_at:%Y-%m-%d %H:%M} UTC; what they gave "
        "after that is shown beside it. The best of many is partly luck, so a setting counts as reaching the "
        "precision only if the cautious lower edge of its interval does: an error of 5 % divided by the "
        f"{counted(max(1, advice.different), 'different set')} of signals there were to choose from, signals within "
        "the same ten minutes counted once, twenty at least. Of those that reach it, the one with the most signals is "
        "advised. The second half decides whether that holds. Only the three bounds vary: an answer that another gate "
        f"refused stays refused, which leaves {advice.eligible:,} of {counted(advice.answers, 'answer')} to choose "
        "from; the penalty after poor recent signals and the most signals of one run are not replayed again. "
        f"Returns after a fee of {fee_bps:g} bps stand behind the slash."
    )
    head = ["setting", "confidence", "margin", "entropy", "found: signals", "coverage", "precision (90 %)", "sure of",
            "return, bps", "shown: signals", "coverage", "precision (90 %)", "return, bps"]  # fmt: skip
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
    returns = f"{half.mean_return_bps:+z.1f} / {half.mean_return_after_fee_bps:+z.1f}"
    precision = f"{half.precision:.3f} ({between(half.interval, '.3f')})"
    return [f"{half.count:,}", f"{half.coverage:.2%}", precision, returns]
