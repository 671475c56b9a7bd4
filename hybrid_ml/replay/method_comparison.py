"""The replayed answers compared with other methods on the same bars.

A comparison method has answered bars of the replay too: a guess, a simpler model, another way of
training. Each is measured by its own outcomes (its threshold may differ)
and its own class prior; differences are computed on the bars that both answered.
"""

from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from hybrid_ml.evaluation.day_blocks import interval
from hybrid_ml.evaluation.outcome_metrics import SMALL_COVERAGE, ResolvedAnswers, precision_at
from hybrid_ml.learning.reliability import calibration_error
from hybrid_ml.market.labels import CLASSES
from hybrid_ml.replay.baselines import PRIOR_COLUMNS, PROBABILITY_COLUMNS

HYBRID, BASE_ALONE = "hybrid-ml", "base alone"
SMALL_WINDOW, LARGE_WINDOW = "23,000 rows", "80,000 rows"


def compare_methods(answers: pd.DataFrame, rivals: pd.DataFrame) -> list[dict[str, Any]]:
    """One record for each method with an outcome: the replayed answers first, their base alone, then `rivals`.

    `answers` in the form of `Service.cycle`, `rivals` with COLUMNS. Log losses and skill in nats; None
    where a method states no probabilities (a guess that is always certain) or shares no bar.
    """
    own = _as_method(answers, "p", HYBRID)
    methods = [own, _as_method(answers, "base_p", BASE_ALONE)]
    methods += [part for _, part in rivals.groupby("method", sort=False)]
    lines = [part[part[PROBABILITY_COLUMNS].notna().all(axis=1) & part["outcome"].notna()] for part in methods]
    return [_record(part, lines[0]) for part in lines if len(part)]


def gain_of_larger_window(rivals: pd.DataFrame) -> dict[str, Any] | None:
    """The gain of bases of 80,000 rows over those of 23,000 on the same rows, nats; None where either is missing."""
    parts = [rivals[rivals["method"] == name] for name in (SMALL_WINDOW, LARGE_WINDOW)]
    small, large = (part[part["outcome"].notna()] for part in parts)
    small, large = _shared(small, large)
    if not len(small):
        return None
    first, second = ResolvedAnswers.of(small), ResolvedAnswers.of(large)
    gains = first.losses() - second.losses()
    return {
        "rows": len(gains),
        "gain": float(gains.mean()),
        "gain_interval": interval(gains, first.days),
        "log_loss_small": float(first.losses().mean()),
        "log_loss_large": float(second.losses().mean()),
        "prior_log_loss": float(second.losses("prior").mean()),
        "accuracy_small": float(_right(first).mean()),
        "accuracy_large": float(_right(second).mean()),
    }


def _as_method(answers: pd.DataFrame, part: str, name: str) -> pd.DataFrame:
    renamed = {f"{part}_{class_name}": f"p_{class_name}" for class_name in CLASSES}
    columns = ["bar_time", "threshold", "outcome", *renamed, *PRIOR_COLUMNS]
    return answers[columns].rename(columns=renamed).assign(method=name)


def _record(method: pd.DataFrame, own: pd.DataFrame) -> dict[str, Any]:
    known = ResolvedAnswers.of(method)
    probabilities = known.probabilities()
    record: dict[str, Any] = {
        "method": str(method["method"].iloc[0]),
        "rows": len(known),
        "accuracy": float(_right(known).mean()),
        "log_loss": None,
        "prior_log_loss": None,
        "skill": None,
        "skill_interval": None,
        "calibration_error": None,
        "precision_at_1_percent": None,
    }
    if _states_probabilities(probabilities):
        losses, prior_losses = known.losses(), known.losses("prior")
        record |= {
            "log_loss": float(losses.mean()),
            "prior_log_loss": float(prior_losses.mean()),
            "skill": float((prior_losses - losses).mean()),
            "skill_interval": interval(prior_losses - losses, known.days),
            "calibration_error": calibration_error(probabilities, known.truth),
            "precision_at_1_percent": precision_at(probabilities, known.truth, SMALL_COVERAGE),
        }
    return record if record["method"] == HYBRID else record | _lead(own, method)


def _lead(own: pd.DataFrame, other: pd.DataFrame) -> dict[str, Any]:
    """The lead of the replayed answers on the bars that both answered."""
    own, other = _shared(own, other)
    lead: dict[str, Any] = {"shared_rows": len(own), "accuracy_lead": None, "skill_lead": None}
    if not len(own):
        return lead
    mine, theirs = ResolvedAnswers.of(own), ResolvedAnswers.of(other)
    same = np.isclose(own["threshold"].to_numpy(float), other["threshold"].to_numpy(float), rtol=1e-6, atol=0.0)
    ahead = _right(mine) - _right(theirs)
    lead |= {
        "same_question": float(same.mean()),
        "accuracy_lead": float(ahead.mean()),
        "accuracy_lead_interval": interval(ahead, mine.days),
    }
    if _states_probabilities(theirs.probabilities()):
        gains = _skills(mine) - _skills(theirs)
        lead |= {"skill_lead": float(gains.mean()), "skill_lead_interval": interval(gains, mine.days)}
    return lead


def _shared(one: pd.DataFrame, other: pd.DataFrame) -> tuple[pd.DataFrame, pd.DataFrame]:
    """The rows of both whose bar is in both, in order of time; the last one of a bar counts."""
    first, second = (part.drop_duplicates("bar_time", keep="last").set_index("bar_time") for part in (one, other))
    times = first.index.intersection(second.index).sort_values()
    return tuple(part.loc[times].rename_axis("bar_time").reset_index() for part in (first, second))  # type: ignore[return-value]


def _states_probabilities(probabilities: NDArray[np.float64]) -> bool:
    """Whether (n, 3) contains more than zeros and ones."""
    return bool((probabilities.max(axis=1) < 1.0).any())


def _right(known: ResolvedAnswers) -> NDArray[np.float64]:
    return (known.probabilities().argmax(axis=1) == known.truth).astype(np.float64)


def _skills(known: ResolvedAnswers) -> NDArray[np.float64]:
    return known.losses("prior") - known.losses()
