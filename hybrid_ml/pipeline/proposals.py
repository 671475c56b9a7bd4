"""What the stages of an analysis hand on: the saved model, and each symbol's proposal."""

from dataclasses import dataclass, field, replace
from datetime import datetime

import pandas as pd

from hybrid_ml.learning.fallback import RecentRecord
from hybrid_ml.learning.fine_tuning import FineTuneTrial
from hybrid_ml.learning.model import HybridModel, Kind
from hybrid_ml.learning.model_bytes import Checksum
from hybrid_ml.signals.gates import Answer, Verdict, max_signals_verdict, refused_by, silenced_by_penalty
from hybrid_ml.signals.reasons import Explanation, Reason


@dataclass(frozen=True)
class SavedModel:
    """A loaded model, or the reason why there is none."""

    model: HybridModel | None
    problem: str | None = None


def leaders_of(saved: SavedModel) -> tuple[str, ...]:
    """The symbols whose bars the saved model sees."""
    return saved.model.base.leaders if saved.model else ()


@dataclass(frozen=True)
class AlertContent:
    """The text of an alert (HTML), and its chart (PNG), or in `problem` why there is none."""

    text: str
    picture: bytes | None
    problem: str = ""


@dataclass(frozen=True)
class ModelInfo:
    """What an alert states about the model behind an answer."""

    version: str
    kind: Kind
    adapted: bool
    trained_until: datetime
    label_threshold: float
    base_kind: Kind
    base_trained_until: datetime

    @classmethod
    def of(cls, model: HybridModel) -> "ModelInfo":
        base = model.base
        return cls(
            version=model.version,
            kind=model.kind,
            adapted=model.adapted,
            trained_until=model.trained_until,
            label_threshold=base.label_threshold,
            base_kind=base.kind,
            base_trained_until=base.trained_until,
        )


@dataclass(frozen=True)
class Proposal:
    """One symbol's answer before the signals of the run are ranked.

    `fallback`: why a model was trained from scratch in this run and the result, None if not.
    `stale`: the newest bar is too old; nothing will be recorded. `absent_leaders`: those without a bar in time.
    `composed`: the alert of a signal.
    `file`: with a trial, the checksum of the serving file. `picture_bars`: those of the chart.
    There may be hundreds, and they are sent between processes: so it contains neither the model nor the window.
    """

    symbol: str
    bar_time: datetime
    close: float
    picture_bars: pd.DataFrame
    model: ModelInfo
    recent: RecentRecord
    trial: FineTuneTrial | None
    answer: Answer
    verdicts: list[Verdict]
    fallback: str | None
    stale: bool
    absent_leaders: list[str] = field(default_factory=list)
    explanation: Explanation = field(default_factory=Explanation)
    file: Checksum | None = None
    composed: AlertContent | None = None
    stage_ms: dict[str, float] = field(default_factory=dict)

    @property
    def signal(self) -> bool:
        return not refused_by(self.verdicts)

    @property
    def reasons(self) -> tuple[Reason, ...]:
        """What moved the answer, the strongest first; empty where that is not known."""
        return self.explanation.reasons

    @property
    def reasons_problem(self) -> str:
        """Why it is not known what moved the answer; empty where it is."""
        return self.explanation.problem

    @property
    def fell_back(self) -> bool:
        """Whether a model was trained from scratch in this run."""
        return self.fallback is not None

    @property
    def silenced_by_penalty(self) -> bool:
        """Whether it would be a signal without the raised confidence bound of a penalty."""
        return silenced_by_penalty(self.verdicts)


def limit_signals(proposals: list[Proposal], max_signals: int) -> list[Proposal]:
    """Let the `max_signals` most confident signals of a run pass; the others get a refusing verdict."""
    ranked = sorted((p for p in proposals if p.signal), key=lambda p: -p.answer.confidence)
    rank = {proposal.symbol: place for place, proposal in enumerate(ranked, start=1)}
    return [
        replace(p, verdicts=[*p.verdicts, max_signals_verdict(rank[p.symbol], max_signals)]) if p.symbol in rank else p
        for p in proposals
    ]
