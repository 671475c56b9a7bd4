"""What a run found: what `--json` prints, and what the tables and artifacts are made of."""

from datetime import datetime
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from hybrid_ml.learning.comparison import Comparison
from hybrid_ml.signals.gates import Verdict
from hybrid_ml.text.counts import counted


class Failure(BaseModel):
    """A symbol that was not finished, and why. `busy`: another run is at it, and nothing went wrong."""

    symbol: str
    error: str
    busy: bool = False


class Training(BaseModel):
    """One trained base. `seconds` is the wall time from first bar read to model saved.

    `minutes`: how many minutes of bars it looked at, rows without a label and the hold-out among them.
    `champion`: version of the one it was compared with, on rows neither had seen; `challenger_log_loss`
    and `comparison` (nats) are None where nothing could be compared.
    """

    symbol: str
    version: str
    kind: str
    week: int
    row_limit: int
    rows: int
    minutes: int
    trained_until: datetime
    metrics: dict[str, Any]
    promoted: bool
    reason: str
    champion: str | None = None
    challenger_log_loss: float | None = None
    comparison: Comparison | None = None
    seconds: float
    path: Path | None = None


class SymbolsReport(BaseModel):
    """What every run over symbols tells: which of them were not finished, and which an earlier attempt had finished."""

    failures: list[Failure] = []
    finished_before: list[str] = []

    @property
    def failed(self) -> bool:
        """Whether anything went wrong."""
        return any(not failure.busy for failure in self.failures)


class TrainingReport(SymbolsReport):
    """Every training of a run."""

    trainings: list[Training]

    @property
    def kept_champion(self) -> bool:
        """Whether models were trained and none of them replaced a champion."""
        return bool(self.trainings) and not any(training.promoted for training in self.trainings)


class ModelSummary(BaseModel):
    """Which model answered."""

    version: str
    kind: str
    trained_until: datetime


class Analysis(BaseModel):
    """One symbol's ten-minute answer.

    `threshold`: |log return| beyond which the outcome is DOWN or UP.
    `fallback`: why a model was trained from scratch in this run and what came of it, None if not.
    `refit_summary`: what unseen rows said of the whole refit that fine-tuning stepped towards.
    `alert`: the states its deliveries came to (sent, logged, paused), "not sent to all", "no chat wants
    it", or None where there was nothing to send. `problems`: what went
    wrong after the answer was recorded.
    """

    symbol: str
    bar_time: datetime
    close: float
    threshold: float
    probabilities: dict[str, float]
    direction: str
    confidence: float
    margin: float
    entropy: float
    signal: bool
    refused_by: list[str]
    gates: list[Verdict]
    model: ModelSummary
    recent_accuracy: float | None
    recent_rows: int
    recent_majority_accuracy: float | None
    fell_back: bool
    fallback: str | None
    degraded: bool
    fine_tune_step: float | None
    refit_summary: str | None = None
    alert: str | None
    problems: list[str] = []
    stage_ms: dict[str, float]

    @property
    def degraded_reason(self) -> str:
        """Why a degraded answer is for the record only."""
        if self.recent_accuracy is None:
            return "the model could not be judged on recent rows"
        rows = counted(self.recent_rows, "recent row")
        return f"the model is right in {self.recent_accuracy:.1%} of {rows}, no alert leaves"


class AnalysisReport(SymbolsReport):
    """Every analysis of a run. `quiet_hours`: the window the run fell into, empty where it was awake."""

    as_of: datetime
    asleep: bool
    quiet_hours: str = ""
    analyses: list[Analysis]

    @property
    def recorded(self) -> list[Analysis]:
        """Those in the ledger: not those after a bar that was too old."""
        return [analysis for analysis in self.analyses if "save" in analysis.stage_ms]

    @property
    def all_degraded(self) -> bool:
        """Whether every recorded answer is degraded, and there is one."""
        return bool(self.recorded) and all(analysis.degraded for analysis in self.recorded)


class ScalingStep(BaseModel):
    """One week of progressive scaling; `begins` is None before the first base.

    `trained`: each base of that week and what became of it; `rows`: how many rows each learnt from.
    """

    week: int
    row_limit: int
    begins: datetime | None
    trained: list[str]
    rows: list[int]


class ScalingReport(BaseModel):
    """Where a symbol stands in progressive scaling. `bars`: how many there are to learn from."""

    symbol: str
    bars: int
    week: int
    row_limit: int
    first_base_at: datetime | None
    steps: list[ScalingStep]


class BackfillReport(BaseModel):
    """What a load brought."""

    symbol: str
    source: str
    rows_read: int
    rows_written: int
    rows_unchanged: int
    rows_set_aside: int
    reasons: dict[str, int]
    first: datetime
    last: datetime
    seconds: float
