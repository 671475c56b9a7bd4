"""What the review found about a symbol that a person should know of."""

from dataclasses import dataclass

from hybrid_ml.review.drift import FeatureDrift
from hybrid_ml.review.record import Correctness, SignalRecord

MOST_NAMED = 3


@dataclass(frozen=True)
class Watch:
    """One symbol under watch: its features, its answers in their order, its signals against what they stated."""

    symbol: str
    features: FeatureDrift
    correctness: Correctness
    signals: SignalRecord


def findings(watch: Watch) -> list[str]:
    """A sentence for each alarm; none where there is nothing to say."""
    told = []
    features, fallen, signals = watch.features, watch.correctness.fallen, watch.signals
    if features.alarm:
        named = ", ".join(str(each) for each in features.moved[:MOST_NAMED])
        told.append(f"{watch.symbol}: features of the last {features.recent_days} days moved: {named} "
                    f"({chance(features.p)}, {features.days} days)")  # fmt: skip
    if fallen:
        told.append(f"{watch.symbol}: the record has fallen: {fallen}")
    if signals.alarm and signals.interval:
        low, high = signals.interval
        told.append(
            f"{watch.symbol}: signals fall short of what they state: {signals.right} of {signals.signals} right "
            f"({signals.precision:.2f}, 90 % {low:.2f} to {high:.2f}), stated {signals.mean_confidence:.2f} "
            f"({chance(signals.p)})"
        )
    return told


def chance(p: float | None) -> str:
    """A p-value in words."""
    if p is None:
        return "cannot tell"
    return "p < 0.001" if p < 0.001 else f"p = {p:.3f}"
