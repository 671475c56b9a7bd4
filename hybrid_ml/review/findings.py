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
                    f"(p = {features.p:.3f} of {features.days} days)")  # fmt: skip
    if fallen:
        told.append(f"{watch.symbol}: the record has fallen: {fallen}")
    if signals.alarm and signals.interval:
        low, high = signals.interval
        told.append(
            f"{watch.symbol}: signals fall short of what they state: {signals.right} of {signals.signals} right "
            f"({signals.precision:.2f}, 90 % {low:.2f} to {high:.2f}), stated {signals.mean_confidence:.2f} "
            f"(p = {signals.p:.3f})"
        )
    return told
