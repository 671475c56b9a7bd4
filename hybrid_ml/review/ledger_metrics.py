"""Metrics of the ledger's answers: in all, by symbol and preset, always compared with guessing."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from hybrid_ml.evaluation.outcome_metrics import ResolvedAnswers, blind_precision, signals
from hybrid_ml.learning.reliability import calibration_error, reliability
from hybrid_ml.market.bars import BAR_LENGTH
from hybrid_ml.market.labels import CLASSES, FLAT, HORIZON_MINUTES

KNOWN_AFTER = BAR_LENGTH * (1 + HORIZON_MINUTES)
"""From the opening of a bar until its outcome is known."""


def measures(answers: pd.DataFrame, fee_bps: float) -> list[dict[str, Any]]:
    """`measure` of all `answers` (ledger columns), then of each symbol and preset, by name."""
    parts: list[tuple[dict[str, Any], pd.DataFrame]] = [({"symbol": None, "preset": None}, answers)]
    for (symbol, preset), part in answers.groupby(["symbol", "preset"], sort=True):
        parts.append(({"symbol": symbol, "preset": preset}, part))
    majority = majority_until_then(answers)
    return [names | measure(part, majority.loc[part.index], fee_bps) for names, part in parts]


def measure(answers: pd.DataFrame, majority: pd.Series, fee_bps: float) -> dict[str, Any]:
    """Metrics of `answers`; `majority`: from `majority_until_then`, for each of them.

    Counts of all answers, of those resolved, void (there can be no outcome) and open; then, where any is
    resolved, shares from 0 to 1 and returns in basis points, `signals` as returned by `outcome_metrics.signals`.
    """
    known = ResolvedAnswers.of(answers)
    void = answers["outcome"].isna() & answers["void_reason"].notna()
    counts: dict[str, Any] = {
        "answers": len(answers),
        "resolved": len(known),
        "void": int(void.sum()),
        "open": int((answers["outcome"].isna() & ~void).sum()),
        "signals_in_all": int(answers["signal"].sum()),
        "silenced_by_penalty": int(answers["silenced_by_penalty"].sum()),
        "fell_back": int(answers["fell_back"].sum()),
        "models": int(answers["model_version"].nunique()),
        "on_corrected_bars": int((answers["counted"] == "corrected").sum()),
        "corrected_since": int(answers["corrected_since"].sum()),
        "recorded_late": int(answers["recorded_late"].sum()),
    }
    if not len(known):
        return counts
    probabilities, truth = known.probabilities(), known.truth
    shares = np.bincount(truth, minlength=len(CLASSES)) / len(truth)
    guessed = majority.loc[known.frame.index].to_numpy()
    return counts | {
        "days": len(np.unique(known.days)),
        "accuracy": float((probabilities.argmax(axis=1) == truth).mean()),
        "majority_accuracy": float((guessed == truth).mean()),
        "majority_in_hindsight": float(shares.max()),
        "shares": dict(zip(CLASSES, shares.tolist(), strict=True)),
        "blind_precision": blind_precision(truth),
        "calibration_error": calibration_error(probabilities, truth),
        "reliability": reliability(probabilities, truth).to_dict("records"),
        "signals": signals(known, fee_bps),
    }


def majority_until_then(answers: pd.DataFrame) -> pd.Series:
    """For each of `answers`, 0..2: its symbol's most frequent class among those known when it was made.

    Only outcomes of `answers` count. FLAT where none was known, and among equals the first of down, flat, up.
    """
    named = pd.Series(FLAT, index=answers.index, dtype=np.int64)
    for part in _by_symbol(answers):
        known = part[part["outcome"].notna()]
        truth = known["outcome"].map({name: place for place, name in enumerate(CLASSES)}).to_numpy(dtype=np.int64)
        seen = np.zeros((len(known) + 1, len(CLASSES)), dtype=np.int64)
        seen[0, FLAT] = 1  # the guess before anything is known; outweighed by the first two equal outcomes
        seen[1:] = seen[0] + np.eye(len(CLASSES), dtype=np.int64)[truth].cumsum(axis=0)
        known_at = known["bar_time"] + KNOWN_AFTER
        named.loc[part.index] = seen[np.searchsorted(known_at, part["as_of"], side="right")].argmax(axis=1)
    return named


def running_accuracy(answers: pd.DataFrame, window: int) -> dict[str, pd.DataFrame]:
    """By symbol, the accuracy over the last `window` answers with an outcome, and that of the majority.

    Each answer was made before its outcome was known, so that this is prequential (Gama, Sebastião and
    Rodrigues, "On evaluating stream learning algorithms", 2013). Columns: time, accuracy, majority;
    a symbol with fewer answers than `window` is left out.
    """
    majority = majority_until_then(answers)
    accuracies = {}
    for part in _by_symbol(answers[answers["outcome"].notna()]):
        if len(part) >= window:
            guessed = np.array(CLASSES)[majority.loc[part.index].to_numpy()]
            frame = pd.DataFrame(
                {
                    "time": part["bar_time"].array,
                    "accuracy": _running_mean((part["direction"] == part["outcome"]).to_numpy(), window),
                    "majority": _running_mean((guessed == part["outcome"]).to_numpy(), window),
                }
            )
            accuracies[str(part["symbol"].iloc[0])] = frame.iloc[window - 1 :]
    return accuracies


def _running_mean(right: NDArray[np.bool_], window: int) -> NDArray[np.float64]:
    return pd.Series(right.astype(np.float64)).rolling(window).mean().to_numpy()


def _by_symbol(answers: pd.DataFrame) -> Iterator[pd.DataFrame]:
    """The answers of each symbol in order of time."""
    for _, part in answers.groupby("symbol", sort=True):
        yield part.sort_values("bar_time", kind="stable")
