"""Kept work as a table of predictions and a list of trainings, for the files of a replay's folder."""

from datetime import datetime
from typing import Any

import numpy as np
import pandas as pd

from hybrid_ml.learning.fallback import RecentRecord
from hybrid_ml.market.labels import CLASSES
from hybrid_ml.replay.kept import CyclePrediction, JudgedTraining, PredictionKey, TrainingKey
from hybrid_ml.signals.gates import Answer

COLUMNS = [
    "champion", "adapted_at", "now", "version", "kind", "recent_rows", "recent_accuracy", "recent_majority_accuracy",
    *(f"p_{name}" for name in CLASSES), *(f"base_p_{name}" for name in CLASSES),
]  # fmt: skip
"""Moments in UTC, NaT where no adapter was in use; accuracies are shares, NaN where no row could be judged."""


def predictions_frame(predictions: dict[PredictionKey, CyclePrediction]) -> pd.DataFrame:
    """COLUMNS, a row for each prediction, ordered by cycle and champion."""
    ordered = sorted(predictions, key=lambda key: (key.now, key.champion, key.adapted_at or key.now))
    rows = [_row(key, predictions[key]) for key in ordered]
    frame = pd.DataFrame(rows, columns=COLUMNS)
    moments = {name: pd.to_datetime(frame[name], utc=True) for name in ("adapted_at", "now")}
    accuracies = {name: frame[name].astype("float64") for name in ("recent_accuracy", "recent_majority_accuracy")}
    return frame.assign(**moments, **accuracies)


def _row(key: PredictionKey, prediction: CyclePrediction) -> list[Any]:
    recent = prediction.recent
    return [
        *key, prediction.version, prediction.kind, recent.rows, recent.accuracy, recent.majority_accuracy,
        *prediction.answer.probabilities, *prediction.base.probabilities,
    ]  # fmt: skip


def read_predictions(frame: pd.DataFrame) -> dict[PredictionKey, CyclePrediction]:
    """The predictions of a frame that `predictions_frame` made; raises KeyError where a column is missing."""
    found = {}
    for row in frame[COLUMNS].itertuples(index=False, name=None):
        champion, adapted_at, now, version, kind, count, accuracy, majority, *shares = row
        before = None if adapted_at is pd.NaT else adapted_at.to_pydatetime()
        recent = RecentRecord(count, _share(accuracy), _share(majority))
        answer, base = Answer(*shares[: len(CLASSES)]), Answer(*shares[len(CLASSES) :])
        key = PredictionKey(champion, before, now.to_pydatetime())
        found[key] = CyclePrediction(recent, answer, base, version, kind)
    return found


def _share(value: float) -> float | None:
    return None if np.isnan(value) else value


def trainings_list(trainings: dict[TrainingKey, JudgedTraining]) -> list[dict[str, Any]]:
    """A record for each training, ready for JSON, the oldest first."""
    return [
        {
            "kind": key.kind,
            "as_of": key.as_of.isoformat(),
            "champion": key.champion,
            "version": judged.version,
            "promoted": judged.promoted,
            "reason": judged.reason,
        }
        for key, judged in sorted(trainings.items(), key=lambda item: item[0].as_of)
    ]


def read_trainings(records: list[dict[str, Any]]) -> dict[TrainingKey, JudgedTraining]:
    """The trainings of records that `trainings_list` made; raises KeyError where one is incomplete."""
    return {
        TrainingKey(record["kind"], datetime.fromisoformat(record["as_of"]), record["champion"]): JudgedTraining(
            record["version"], record["promoted"], record["reason"]
        )
        for record in records
    }
