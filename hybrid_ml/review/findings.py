"""The findings of a review about a symbol."""

from collections.abc import Sequence
from dataclasses import dataclass

from hybrid_ml.review.accuracy_drift import Correctness, SignalRecord
from hybrid_ml.review.feature_drift import FeatureDrift
from hybrid_ml.text.counts import counted

MOST_NAMED = 3
JUDGED_OF_A_SYMBOL = 2
"""Its features and its accuracy."""


@dataclass(frozen=True)
class SymbolDrift:
    """Drift of one symbol: its features, its answers in order, its signals compared with their stated confidence."""

    symbol: str
    features: FeatureDrift
    correctness: Correctness
    signals: SignalRecord


def findings(watch: SymbolDrift) -> list[str]:
    """A sentence for each alarm; empty where there is none."""
    lines = []
    features, fallen, signals = watch.features, watch.correctness.fallen, watch.signals
    if features.alarm:
        named = ", ".join(str(feature) for feature in features.moved[:MOST_NAMED])
        lines.append(f"{watch.symbol}: features of the last {counted(features.recent_days, 'day')} changed: {named} "
                    f"({chance(features.p)}, {counted(features.days, 'day')})")  # fmt: skip
    if fallen:
        lines.append(f"{watch.symbol}: the accuracy has fallen: {fallen}")
    if signals.alarm and signals.interval:
        low, high = signals.interval
        lines.append(
            f"{watch.symbol}: signals were right less often than stated: {signals.right} of {signals.signals} right "
            f"({signals.precision:.2f}, 90 % {low:.2f} to {high:.2f}), stated {signals.mean_confidence:.2f} "
            f"({chance(signals.p)})"
        )
    return lines


def not_judged(watch: SymbolDrift) -> list[str]:
    """What could not be judged, with the reason; empty where everything was."""
    lines = []
    if watch.features.p is None:
        lines.append(f"features {watch.features.verdict}")
    if not watch.correctness.answers:
        lines.append("accuracy not known: no answer with an outcome")
    return lines


def verdict_without_alarm(watches: Sequence[SymbolDrift], failed: int) -> str:
    """The verdict where no alarm was raised: everything is well only where everything was judged."""
    if not failed and watches and not any(map(not_judged, watches)):
        return "Nothing found: no drift of the features and no fall of the accuracy."
    if any(len(not_judged(watch)) < JUDGED_OF_A_SYMBOL for watch in watches):
        return "Nothing found in what could be judged, which was not everything."
    return "Nothing could be judged."


def chance(p: float | None) -> str:
    """A p-value as text."""
    if p is None:
        return "not known"
    return "p < 0.001" if p < 0.001 else f"p = {p:.3f}"
