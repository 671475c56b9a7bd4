"""Gates between a prediction and a signal: small rules, all of them evaluated and recorded.

Every verdict keeps its value and its bound, so that the effect of another bound can be computed
later.
"""

from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hybrid_ml.market.labels import CLASSES, FLAT, HORIZON_MINUTES
from hybrid_ml.signals.pace import Pace
from hybrid_ml.signals.penalty import Penalty
from hybrid_ml.signals.presets import Bounds
from hybrid_ml.text.counts import counted

LATEST_MINUTES = HORIZON_MINUTES - 1.0
"""An answer for a bar that closed longer ago is over before anybody can act on it."""
PACED_GATES = {"confidence", "max_signals"}
"""Gates that choose among the answers that the others let pass."""
HIGHEST_PENALISED_BOUND = 0.99
"""An upper limit, so that the penalty cannot suppress signals for ever."""


@dataclass(frozen=True)
class Answer:
    """A model's probabilities for the next ten minutes of a symbol."""

    down: float
    flat: float
    up: float

    @classmethod
    def of(cls, probabilities: NDArray[np.float64]) -> "Answer":
        """From one row of class probabilities, (3,)."""
        return cls(*(float(value) for value in probabilities))

    @property
    def probabilities(self) -> tuple[float, float, float]:
        return (self.down, self.flat, self.up)

    @property
    def top(self) -> int:
        return int(np.argmax(self.probabilities))

    @property
    def direction(self) -> str:
        return CLASSES[self.top]

    @property
    def confidence(self) -> float:
        return max(self.probabilities)

    @property
    def margin(self) -> float:
        """The most probable class's lead over the second."""
        ordered = sorted(self.probabilities)
        return ordered[-1] - ordered[-2]

    @property
    def entropy(self) -> float:
        """Shannon entropy in nats: 0 when certain, 1.0986 when all three are equal."""
        return float(-sum(p * np.log(p) for p in self.probabilities if p > 0))


@dataclass(frozen=True)
class GateContext:
    """The inputs of the gates besides the answer.

    `pace`: the confidence bound that takes the place of the one in `bounds`, None where no pace is wanted.
    `minutes_to_close`: from the close of the newest bar to that of its session; None where no session is stated.
    """

    bounds: Bounds
    penalty: Penalty
    bar_age_minutes: float
    max_bar_age_minutes: float
    minutes_to_close: float | None = None
    pace: Pace | None = None


@dataclass(frozen=True)
class Verdict:
    """One gate's result: its value, its bound, whether the answer passed.

    `asked`: the bound before the penalty raised it, None where it did not. `paced`: the bound that a pace chose, which
    the next answer's goes on from, None without a pace. The ledger stores these names.
    """

    gate: str
    value: float | None
    bound: float | None
    passed: bool
    meaning: str
    asked: float | None = None
    paced: float | None = None


Gate = Callable[[Answer, GateContext], Verdict]


def direction(answer: Answer, _: GateContext) -> Verdict:
    """A FLAT answer is recorded, but never a signal."""
    return Verdict("direction", None, None, answer.top != FLAT, f"{answer.direction.upper()}; only DOWN and UP alert")


def confidence(answer: Answer, context: GateContext) -> Verdict:
    """The top probability reaches the bound of the preset or the pace, raised by the recent-performance penalty."""
    pace = context.pace
    requested = context.bounds.min_confidence if pace is None else pace.bound
    bound = max(requested, min(HIGHEST_PENALISED_BOUND, requested + context.penalty.amount))
    meaning = f"top probability at least {bound:.3f}{f', {pace.explanation}' if pace else ''}"
    if bound > requested:
        meaning += f" (raised by {bound - requested:.2f}: {context.penalty.explanation})"
    passed = answer.confidence >= bound
    asked, paced = requested if bound > requested else None, pace.bound if pace else None
    return Verdict("confidence", answer.confidence, bound, passed, meaning, asked, paced)


def margin(answer: Answer, context: GateContext) -> Verdict:
    """The lead over the second class."""
    bound = context.bounds.min_prob_margin
    return Verdict("margin", answer.margin, bound, answer.margin >= bound, f"top1 - top2 at least {bound:.2f}")


def entropy(answer: Answer, context: GateContext) -> Verdict:
    """The spread of the whole distribution."""
    bound = context.bounds.max_entropy
    return Verdict("entropy", answer.entropy, bound, answer.entropy <= bound, f"at most {bound:.2f} nats")


def freshness(_: Answer, context: GateContext) -> Verdict:
    """The newest bar is recent enough that at least the last of its ten minutes is still to come."""
    age, bound = context.bar_age_minutes, min(context.max_bar_age_minutes, LATEST_MINUTES)
    return Verdict(
        "freshness", age, bound, 0 <= age <= bound, f"newest bar closed at most {counted(bound, 'minute')} ago"
    )


def session(_: Answer, context: GateContext) -> Verdict:
    """The session lasts for all of the next ten minutes; an outcome could not follow otherwise."""
    left = context.minutes_to_close
    if left is None:
        return Verdict("session", None, None, True, "no calendar states when its market closes")
    bound = float(HORIZON_MINUTES)
    return Verdict("session", left, bound, left >= bound, f"the session lasts at least {counted(bound, 'minute')} more")


GATES: tuple[Gate, ...] = (direction, confidence, margin, entropy, freshness, session)


def evaluate_gates(answer: Answer, context: GateContext) -> list[Verdict]:
    """Every gate's verdict, in order."""
    return [gate(answer, context) for gate in GATES]


def refused_by(verdicts: list[Verdict]) -> list[str]:
    """Names of the gates that refused."""
    return [verdict.gate for verdict in verdicts if not verdict.passed]


def silenced_by_penalty(verdicts: list[Verdict]) -> bool:
    """Whether only the raised part of the confidence bound refused; such an answer counts for the penalty.

    Whether it would have been among the most confident of its run is not considered: that bound limits how much a
    person reads, and does not depend on the answer.
    """
    refusals = [verdict for verdict in verdicts if not verdict.passed]
    if [verdict.gate for verdict in refusals] != ["confidence"]:
        return False
    value, requested = refusals[0].value, refusals[0].asked
    return value is not None and requested is not None and value >= requested


def passes_but_for_confidence(verdicts: list[Verdict]) -> bool:
    """Whether no gate refused but that of confidence; such an answer counts for the pace."""
    return set(refused_by(verdicts)) <= PACED_GATES


def paced_bound(verdicts: list[Verdict]) -> float | None:
    """The bound that a pace chose, None without one."""
    return next((verdict.paced for verdict in verdicts if verdict.gate == "confidence"), None)


def max_signals_verdict(rank: int, bound: int) -> Verdict:
    """Whether a signal that is the `rank`-th most confident of its run (from 1) may be sent."""
    return Verdict("max_signals", rank, bound, rank <= bound, f"among the {bound} most confident of this run")


def as_record(verdicts: list[Verdict]) -> list[dict[str, Any]]:
    """Verdicts as dictionaries, for the ledger."""
    return [asdict(verdict) for verdict in verdicts]
