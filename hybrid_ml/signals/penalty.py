"""The recent-performance penalty: after poor results the confidence bound is raised.

It is computed from the newest answers that reached the bounds before the penalty: signals, and answers that only
an earlier penalty silenced. A silenced answer counts like one that was sent. It makes the
same claim, and its evaluation must not depend on the penalty: if only signals counted, a penalty
that silences all answers would never see a recovery, and would never end;
and only the most confident answers, those above the raised bound, would be evaluated.
"""

from dataclasses import dataclass

MAXIMUM_PENALTY = 0.15
SIGNALS_CONSIDERED = 30
FEWEST_SIGNALS = 5
CHANCE_STANDARD_ERRORS = 1.645
"""One-sided 95 %: a calibrated record is penalised about one time in twenty at most."""
CONTINUITY = 0.5
"""Right answers are counted in whole numbers. Without this half (Yates, "Contingency tables", 1934), calibrated
records of few, very confident answers would be penalised up to one time in five."""


@dataclass(frozen=True)
class RecentSignals:
    """Resolved confident answers of a symbol: their number, the share that came true, the mean stated confidence.

    Both shares are 0 where there is none.
    """

    count: int
    precision: float
    mean_confidence: float

    @property
    def right(self) -> int:
        """How many came true."""
        return round(self.count * self.precision)


@dataclass(frozen=True)
class Penalty:
    """The addition to the confidence bound, 0 to MAXIMUM_PENALTY, and the reason as text; empty where it is 0."""

    amount: float = 0.0
    explanation: str = ""


NO_PENALTY = Penalty()


def confidence_penalty(recent: RecentSignals) -> Penalty:
    """The penalty after `recent`.

    The shortfall of precision against stated confidence, beyond chance: 1.645 binomial
    standard errors of a calibrated record, and half an answer. Nothing else is stored, so
    the penalty shrinks with every right answer and ends once the record is within
    chance. With fewer than FEWEST_SIGNALS there is none.
    """
    if recent.count < FEWEST_SIGNALS:
        return NO_PENALTY
    stated = recent.mean_confidence
    standard_error = (stated * (1 - stated) / recent.count) ** 0.5
    chance = CHANCE_STANDARD_ERRORS * standard_error + CONTINUITY / recent.count
    amount = min(MAXIMUM_PENALTY, stated - recent.precision - chance)
    if amount <= 0:
        return NO_PENALTY
    message = (
        f"{recent.right} of the last {recent.count} confident answers right, {stated:.2f} stated, "
        f"up to {chance:.2f} may be chance"
    )
    return Penalty(float(amount), message)
