"""The pace: a confidence bound that gives about as many signals a day as a person wants to read.

It is the bound that would have given them on the model's hold-out and on the recorded answers of the last two weeks,
whole days in UTC. Only recorded data goes into it, so that a retry, and a replay, find the same bound.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

import numpy as np
from numpy.typing import NDArray

from hybrid_ml.market.labels import FLAT
from hybrid_ml.signals.presets import Bounds

RECORD = timedelta(days=14)
LARGEST_STEP = 0.01
"""By which the bound moves from one answer to the next at most, so that a new day or model is no jump."""
FEWEST_DAYS = 1.0
ANSWERS_A_DAY = 144
"""One every ten minutes: what a day counts for where no day has been recorded."""


@dataclass(frozen=True)
class PaceRecord:
    """The recorded answers of a symbol in the period that counts (`record_period`).

    `confidences`: of those that every gate other than confidence let pass; `answers`: how many there are in all;
    `most_in_a_day`: in the fullest of the days (UTC) after the first, which may have begun late: what a whole day of
    service gives; 0 where there is no second one. `previous`: the bound that a pace chose for the answer before, None
    where none did.
    """

    confidences: Sequence[float] = ()
    answers: int = 0
    most_in_a_day: int = 0
    previous: float | None = None


NO_RECORD = PaceRecord()


@dataclass(frozen=True)
class Pace:
    """A confidence bound, before any penalty, and how it was found, in words."""

    bound: float
    explanation: str = field(compare=False)


def record_period(as_of: datetime) -> tuple[datetime, datetime]:
    """From when, and until before when, recorded answers count: the last fourteen days that are over at `as_of`."""
    today = as_of.astimezone(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    return today - RECORD, today


def choose_pace(record: PaceRecord, hold_out: NDArray[np.float64], bounds: Bounds, symbols: int = 1) -> Pace | None:
    """The bound at the pace of `bounds`, of which each of a run's `symbols` gets an equal share; None without one.

    `hold_out`: the model's answers to hold-out rows, (n, 3) probabilities, ten minutes apart.
    """
    if bounds.signals_per_day is None:
        return None
    confidences = [*record.confidences, *passing_confidences(hold_out, bounds)]
    days = (record.answers + len(hold_out)) / (record.most_in_a_day or ANSWERS_A_DAY)
    share = bounds.signals_per_day / max(1, symbols)
    return pace_bound(confidences, days, share, bounds.min_confidence, record.previous)


def passing_confidences(probabilities: NDArray[np.float64], bounds: Bounds) -> list[float]:
    """Confidences of the answers (n, 3) that the gates of direction, margin and entropy let pass."""
    if not len(probabilities):
        return []
    ordered = np.sort(probabilities, axis=1)
    with np.errstate(divide="ignore", invalid="ignore"):
        entropy = -np.nansum(probabilities * np.log(probabilities), axis=1)
    passing = (
        (probabilities.argmax(axis=1) != FLAT)
        & (ordered[:, -1] - ordered[:, -2] >= bounds.min_prob_margin)
        & (entropy <= bounds.max_entropy)
    )
    return [float(confidence) for confidence in ordered[passing, -1]]


def pace_bound(
    confidences: Sequence[float], days: float, signals_per_day: float, floor: float, previous: float | None
) -> Pace:
    """The bound that `confidences` would have reached `signals_per_day` times a day in `days`, in no order.

    Never under `floor`, and at most LARGEST_STEP from `previous`, the bound of the answer before, if that is known.
    """
    pace = f"the pace of {signals_per_day:.3g} a day"
    if days < FEWEST_DAYS:
        return Pace(floor, f"the lowest allowed, because {days:.1f} days of answers are too few for {pace}")
    wanted = max(1, math.floor(signals_per_day * days))
    reached = sorted(confidences, reverse=True)
    target = max(floor, reached[wanted - 1]) if len(reached) >= wanted else floor
    bound = target if previous is None else min(max(target, previous - LARGEST_STEP), previous + LARGEST_STEP)
    bound = max(floor, bound)
    seen = f"{pace} in {days:.1f} days of answers"
    if bound != target:
        return Pace(bound, f"on its way to {target:.3f} for {seen}")
    if target == floor:
        return Pace(bound, f"the lowest allowed, which gives at most {seen}")
    return Pace(bound, f"for {seen}")
