"""The reports of runs, for `--json`, tables and pages."""

from datetime import datetime
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ValidationInfo, field_validator

from hybrid_ml.learning.comparison import Comparison
from hybrid_ml.signals.gates import Verdict
from hybrid_ml.signals.reasons import Reason


class Failure(BaseModel):
    """A symbol that was not finished, and why. `busy`: another run is working on it, which is no error.

    The name before many errors is cut off: every output writes the symbol before the error.
    """

    symbol: str
    error: str
    busy: bool = False

    @field_validator("error")
    @classmethod
    def _name_once(cls, error: str, info: ValidationInfo) -> str:
        return error.removeprefix(f"{info.data['symbol']}: ")


class Training(BaseModel):
    """One trained base. `seconds` is the wall time from first bar read to model saved.

    `minutes`: the minutes of bars it used, including rows without a label and the hold-out.
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
    """Common fields of reports over symbols: failures, and symbols finished by an earlier attempt.

    `late`: for each symbol whose newest bar its feed did not give in time, why. `closed`: for each symbol that was
    left out because its market is closed, when it opens.
    """

    failures: list[Failure] = []
    finished_before: list[str] = []
    late: dict[str, str] = {}
    closed: dict[str, datetime] = {}

    @property
    def failed(self) -> bool:
        """Whether there was an error."""
        return any(not failure.busy for failure in self.failures)


class TrainingReport(SymbolsReport):
    """Every training of a run."""

    trainings: list[Training]

    @property
    def kept_champion(self) -> bool:
        """Whether models were trained and none of them replaced a champion."""
        return bool(self.trainings) and not any(training.promoted for training in self.trainings)


class ModelSummary(BaseModel):
    """The model of an answer."""

    version: str
    kind: str
    trained_until: datetime


class Analysis(BaseModel):
    """One symbol's ten-minute answer.

    `threshold`: |log return| beyond which the outcome is DOWN or UP.
    `fallback`: why a model was trained from scratch in this run and the result, None if not.
    `absent_leaders`: leaders of the model without a bar in time; the answer was made without them.
    `refit_summary`: the comparison of the whole refit with the base on unseen rows.
    `reasons`: what moved the answer, the strongest first; where there is none, `reasons_problem` says why.
    `alert`: the states of its deliveries (sent, logged, paused), "not sent to all", "no chat wants
    this symbol", or None where there was nothing to send. `problems`: errors after the
    answer was recorded.
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
    absent_leaders: list[str] = []
    reasons: list[Reason] = []
    reasons_problem: str = ""
    model: ModelSummary
    recent_accuracy: float | None
    recent_rows: int
    recent_majority_accuracy: float | None
    fell_back: bool
    fallback: str | None
    fine_tune_step: float | None
    refit_summary: str | None = None
    alert: str | None
    problems: list[str] = []
    stage_ms: dict[str, float]


class AnalysisReport(SymbolsReport):
    """Every analysis of a run. `quiet_hours`: the quiet hours in which the run was, else empty."""

    as_of: datetime
    asleep: bool
    quiet_hours: str = ""
    analyses: list[Analysis]


class ScalingStep(BaseModel):
    """One week of progressive scaling; `begins` is None before the first base.

    `trained`: each base of that week and its status; `rows`: their training rows.
    """

    week: int
    row_limit: int
    begins: datetime | None
    trained: list[str]
    rows: list[int]


class ScalingReport(BaseModel):
    """A symbol's week of progressive scaling. `bars`: the bars available for training."""

    symbol: str
    bars: int
    week: int
    row_limit: int
    first_base_at: datetime | None
    steps: list[ScalingStep]


class History(BaseModel):
    """What a load from an exchange found out about one symbol.

    `first` until before `end` are the minutes wanted, `known` of them answered before, `closed_minutes` outside of
    the sessions; `bars`, `no_trades`, `source_gaps` and `late` are what the exchange said of the others: a bar, no
    trades, no usable bar, no bar yet. `note`: where older bars are to be had that the exchange does not serve, else
    empty.
    """

    symbol: str
    feed: str
    first: datetime
    end: datetime
    listed_at: datetime | None
    delisted_at: datetime | None
    known: int
    closed_minutes: int = 0
    pages: int
    bars: int
    bars_written: int
    no_trades: int
    source_gaps: int
    late: int
    rows_set_aside: int
    seconds: float
    note: str = ""


class HistoryReport(SymbolsReport):
    """The result of a load from exchanges and other feeds."""

    histories: list[History]


class AddedReport(SymbolsReport):
    """Symbols that were added: their history, first training and first answer."""

    histories: list[History] = []
    trainings: list[Training] = []
    analyses: list[Analysis] = []


class BackfillReport(BaseModel):
    """The result of a load. `taken_for`: what the files were recognised as, empty for simulated bars.

    `rows_changed`: of minutes that had a bar with other values, which are kept in bar_revisions. `doubt`: why they may
    be bars of other minutes or of another market; empty where few differ.
    """

    symbol: str
    source: str
    taken_for: str
    rows_read: int
    rows_new: int
    rows_changed: int
    rows_unchanged: int
    rows_set_aside: int
    reasons: dict[str, int]
    doubt: str
    first: datetime
    last: datetime
    seconds: float
