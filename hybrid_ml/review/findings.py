"""What the review found about a symbol that a person should know of."""

from collections.abc import Sequence
from dataclasses import dataclass

from hybrid_ml.review.accuracy_drift import Correctness, SignalRecord
from hybrid_ml.review.feature_drift import FeatureDrift
from hybrid_ml.text.counts import counted

MOST_NAMED = 3
JUDGED_OF_A_SYMBOL = 2
"""Its features and its record."""


@dataclass(frozen=True)
class Watch:
    """One symbol under watch: its features, its answers in their order, its signals against what they stated."""

    symbol: str
    features: FeatureDrift
    correctness: Correctness
    signals: SignalRecord


def findings(watch: Watch) -> list[str]:
    """A sentence for each alarm; none where there is nothing to say."""
    lines = []
    features, fallen, signals = watch.features, watch.correctness.fallen, watch.signals
    if features.alarm:
        named = ", ".join(str(feature) for feature in features.moved[:MOST_NAMED])
        lines.append(f"{watch.symbol}: features of the last {counted(features.recent_days, 'day')} moved: {named} "
                    f"({chance(features.p)}, {counted(features.days, 'day')})")  # fmt: skip
    if fallen:
        lines.append(f"{watch.symbol}: the record has fallen: {fallen}")
    if signals.alarm and signals.interval:
        low, high = signals.interval
        lines.append(
            f"{watch.symbol}: signals fall short of what they state: {signals.right} of {signals.signals} right "
            f"({signals.precision:.2f}, 90 % {low:.2f} to {high:.2f}), stated {signals.mean_confidence:.2f} "
            f"({chance(signals.p)})"
        )
    return lines


def not_judged(watch: Watch) -> list[str]:
    """What could not be looked at, each with the reason; empty where everything was judged."""
    lines = []
    if watch.features.p is None:
        lines.append(f"features {watch.features.verdict}")
    if not watch.correctness.answers:
        lines.append("record cannot tell: no answer with an outcome")
    return lines


def verdict_without_alarm(watches: Sequence[Watch], failed: int) -> str:
    """What may be said where no alarm was raised: that all is well only where everything was judged."""
    if not failed and watches and not any(map(not_judged, watches)):
        return "Nothing found: neither drift of the features nor a fallen record."
    if any(len(not_judged(watch)) < JUDGED_OF_A_SYMBOL for watch in watches):
        return "Nothing found in what could be judged; not everything could."
    return "Nothing could be judged."


def chance(p: float | None) -> str:
    """A p-value in words."""
    if p is None:
        return "cannot tell"
    return "p < 0.001" if p < 0.001 else f"p = {p:.3f}"
