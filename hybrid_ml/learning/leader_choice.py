"""The choice of a symbol's leaders: which other markets say something about its next ten minutes.

Linear, so that a dozen candidates cost a second: the standardised outcome is regressed (ridge) on the symbol's own
moves and those of a candidate, fitted on all of the training rows but one fold, measured on that fold. A candidate
leads where it lowers the squared error by more than CAUTION standard errors over days, and adds to the leaders before
it. Rows of one day depend on each other, so days are what is counted, and folds are whole periods.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from hybrid_ml.errors import DataUnavailable
from hybrid_ml.learning.rows import Rows
from hybrid_ml.market.features import FEATURE_NAMES
from hybrid_ml.market.labels import HORIZON_MINUTES
from hybrid_ml.market.leaders import LEADER_FEATURES, LEADER_RETURN_BARS

FOLDS = 5
RIDGE = 100.0
CAUTION = 2.0
FEWEST_PRESENT = 0.5
"""Share of the rows in which a candidate must have had a bar in time."""
CLIP = 4.0
"""Moves and outcomes beyond so many standard deviations count as this: a crash would decide alone otherwise."""
MOST_CANDIDATES = 12
"""Other symbols that are tried, those with the largest turnover: of the rest few trade every minute."""
CHOSEN_AT_MOST = 2
"""By the choice of its own; a third one may be named."""
_OWN = [FEATURE_NAMES.index(f"return_{bars}") for bars in LEADER_RETURN_BARS]
_VOLATILITY = FEATURE_NAMES.index("log_volatility_60")
_LEADER = [LEADER_FEATURES.index(f"return_{bars}") for bars in LEADER_RETURN_BARS]
Matrix = NDArray[np.float64]


@dataclass(frozen=True)
class ChosenLeader:
    """A leader and what it was worth beside those before it: the share of squared error saved, and its t over days."""

    symbol: str
    gain: float
    t: float

    def __str__(self) -> str:
        return f"{self.symbol} (saves {self.gain:.2%} of the squared error, t {self.t:.1f} over days)"


def choose_leaders(training: Rows, candidates: Sequence[str], at_most: int = CHOSEN_AT_MOST) -> list[ChosenLeader]:
    """The leaders among `candidates` for the labelled rows `training`, the best first; none where none leads.

    Candidates without features in `training.leader_features` are left out. Uses nothing but these rows.
    """
    target, usable = _target(training)
    days = np.unique(training.times[usable].floor("D").asi8, return_inverse=True)[1]
    if not len(days) or days[-1] + 1 < 2 * FOLDS:
        return []
    own = _moves(training.features[usable][:, _OWN])
    moves = {name: _present(training.leader_features, name, usable) for name in candidates}
    left = {name: found for name, found in moves.items() if found is not None}
    chosen: list[ChosenLeader] = []
    matrix, errors = own, _errors(own, target, days)
    while left and len(chosen) < at_most:
        tried = {name: _errors(np.hstack([matrix, found]), target, days) for name, found in left.items()}
        best = min(tried, key=lambda name: (float(tried[name].mean()), name))
        gain, t = _gain(errors, tried[best], days)
        if t <= CAUTION:
            break
        chosen.append(ChosenLeader(best, gain, t))
        matrix, errors = np.hstack([matrix, left.pop(best)]), tried[best]
    return chosen


def refuse_absent(symbol: str, named: Sequence[str], present: Collection[str]) -> None:
    """Raise DataUnavailable where one of the leaders `named` for `symbol` is not among those with bars."""
    if missing := [leader for leader in named if leader not in present]:
        raise DataUnavailable(
            f"{symbol}: its leader {missing[0]} has no bars in the database; load some with `hybrid-ml backfill`, "
            "or name others (--leaders, HYBRID_ML_LEADERS)"
        )


def _target(rows: Rows) -> tuple[Matrix, NDArray[np.bool_]]:
    """The outcome in units of the hour's volatility scaled to the horizon, and the rows where it is known."""
    volatility = np.exp(rows.features[:, _VOLATILITY].astype(np.float64)) * np.sqrt(HORIZON_MINUTES)
    outcome = rows.forward_returns / volatility
    usable = np.isfinite(outcome)
    return np.clip(outcome[usable], -CLIP, CLIP), usable


def _moves(values: NDArray[np.float32]) -> Matrix:
    return np.clip(np.nan_to_num(values.astype(np.float64)), -CLIP, CLIP)


def _present(blocks: Mapping[str, NDArray[np.float32]], name: str, usable: NDArray[np.bool_]) -> Matrix | None:
    if name not in blocks:
        return None
    returns = blocks[name][usable][:, _LEADER]
    there = np.isfinite(returns[:, 0]).mean()
    return _moves(returns) if there >= FEWEST_PRESENT else None


def _errors(matrix: Matrix, target: Matrix, days: NDArray[np.intp]) -> Matrix:
    """Squared error of each row, predicted by a ridge regression on the other folds."""
    fold = days * FOLDS // (int(days[-1]) + 1)
    parts = [(matrix[fold == k], target[fold == k]) for k in range(FOLDS)]
    grams = [(x.T @ x, x.T @ y) for x, y in parts]
    gram, moment = sum(g for g, _ in grams), sum(m for _, m in grams)
    errors = np.empty(len(target))
    for k, (x, y) in enumerate(parts):
        weights = np.linalg.solve(gram - grams[k][0] + RIDGE * np.eye(matrix.shape[1]), moment - grams[k][1])
        errors[fold == k] = (y - x @ weights) ** 2
    return errors


def _gain(before: Matrix, after: Matrix, days: NDArray[np.intp]) -> tuple[float, float]:
    """The share of squared error saved, and its mean over days in standard errors."""
    saved = np.bincount(days, weights=before - after) / np.bincount(days)
    spread = float(saved.std(ddof=1) / np.sqrt(len(saved)))
    return float((before.sum() - after.sum()) / before.sum()), float(saved.mean()) / spread if spread else 0.0
