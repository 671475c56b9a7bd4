"""What a replay keeps of its models' work, and finds again: judged trainings and predictions of cycles.

Both follow from bars and models alone, never from a gate: a prediction from the champion, the cycle and the cycle whose
adapter is in use before it; a judgement from the training and the champion. They are kept under just that, so a replay
with other gates, another pace or a penalty finds all of them, and one that trains at another moment (see
`fallback`), or answers in other hours, finds those that are the same and computes the rest.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from typing import Literal, NamedTuple

from hybrid_ml.learning.fallback import RecentRecord
from hybrid_ml.learning.model import HybridModel, Kind
from hybrid_ml.learning.promotion import Promotion
from hybrid_ml.signals.gates import Answer
from hybrid_ml.text.counts import counted


@dataclass(frozen=True)
class CyclePrediction:
    """The prediction of one cycle: recent accuracy of the model in use until then, and answers of the one in use now.

    `base` is the base's answer without an adapter; `version` and `kind` are those of the model in use.
    """

    recent: RecentRecord
    answer: Answer
    base: Answer
    version: str
    kind: Kind


class PredictionKey(NamedTuple):
    """The version of the champion, the cycle whose adapter is in use before (None: there is none), and the cycle."""

    champion: str
    adapted_at: datetime | None
    now: datetime


class TrainingKey(NamedTuple):
    """A training of `kind` at `as_of`, judged against the version `champion`; None: there was none."""

    kind: Literal["base", "scratch"]
    as_of: datetime
    champion: str | None


@dataclass(frozen=True)
class JudgedTraining:
    """The outcome of a training: the version of the new base, and whether it serves from then on."""

    version: str
    promoted: bool
    reason: str


def _no_model(version: str) -> HybridModel:
    raise KeyError(version)


@dataclass
class KeptWork:
    """The kept work of some weeks, with what is added to it while they are replayed.

    `load_model`: reads a base that served, by its version. `computed` and `trained` count what was not found.
    """

    predictions: dict[PredictionKey, CyclePrediction] = field(default_factory=dict)
    trainings: dict[TrainingKey, JudgedTraining] = field(default_factory=dict)
    load_model: Callable[[str], HybridModel] = _no_model
    new_models: dict[str, HybridModel] = field(default_factory=dict)
    computed: int = 0
    trained: int = 0

    @property
    def is_changed(self) -> bool:
        """Whether anything was added."""
        return self.computed + self.trained > 0

    def format_added(self) -> str:
        """What was added, in words."""
        return f"{counted(self.computed, 'cycle')}, {counted(self.trained, 'training')}"

    def add_prediction(self, key: PredictionKey, prediction: CyclePrediction) -> None:
        """Keep what was computed for one cycle."""
        self.predictions[key] = prediction
        self.computed += 1

    def add_training(self, champion: str | None, model: HybridModel, promotion: Promotion) -> None:
        """Keep the judgement of a new base, and the base where it serves from now on."""
        base = model.base
        key = TrainingKey("scratch" if base.kind == "scratch" else "base", base.as_of, champion)
        self.trainings[key] = JudgedTraining(base.version, promotion.promoted, promotion.reason)
        self.trained += 1
        if promotion.promoted:
            self.new_models[base.version] = model

    def model(self, version: str) -> HybridModel:
        """A base that served. Raises BadInput where its file is damaged, KeyError where there is none."""
        return self.new_models[version] if version in self.new_models else self.load_model(version)
