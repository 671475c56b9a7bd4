"""The recent-performance penalty: after poor results the service asks for more confidence."""

from dataclasses import dataclass

MAXIMUM_PENALTY = 0.15
SIGNALS_CONSIDERED = 30
FEWEST_SIGNALS = 5
CHANCE_STANDARD_ERRORS = 1.0


@dataclass(frozen=True)
class RecentSignals:
    """Resolved signals of a symbol: how many, the share that came true, the mean confidence stated."""

    count: int
    precision: float
    mean_confidence: float


def confidence_penalty(recent: RecentSignals) -> float:
    """How much to add to the confidence bound, 0 to MAXIMUM_PENALTY.

    The shortfall of precision against stated confidence counts only beyond one binomial standard
    error, so that bad luck alone is not punished; with fewer than FEWEST_SIGNALS there is none.
    """
    if recent.count < FEWEST_SIGNALS:
        return 0.0
    stated = recent.mean_confidence
    chance = CHANCE_STANDARD_ERRORS * (stated * (1 - stated) / recent.count) ** 0.5
    return float(min(MAXIMUM_PENALTY, max(0.0, stated - recent.precision - chance)))
