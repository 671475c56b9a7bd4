"""Requests of runs: one model is the flow's parameter, the form in the Prefect UI, the
command line's flags and the deployment's parameters.

A title names a field in the form, which does not show its name; a description is used by the form and `--help`.
"""

from dataclasses import replace
from pathlib import Path
from typing import Annotated, Literal

from pydantic import AfterValidator, AliasChoices, BeforeValidator, Field, model_validator

from hybrid_ml.config.leaders import parse_leaders
from hybrid_ml.config.thresholds import (
    THRESHOLDS,
    MaxEntropy,
    MaxSignals,
    MinConfidence,
    MinProbMargin,
    SignalsPerDay,
)
from hybrid_ml.schemas.execution_options import ExecutionOptions, Runner
from hybrid_ml.schemas.fields import BaseRequest, Moment, Symbols
from hybrid_ml.signals.presets import PRESETS, Bounds, PresetName
from hybrid_ml.signals.quiet_hours import DEFAULT_WINDOW, DEFAULT_ZONE, QuietHours


def _leaders(text: str) -> str:
    parse_leaders(text)
    return text


Source = Literal["db", "csv", "demo"]
CsvPath = Annotated[
    Path | None,
    Field(
        title="File of bars",
        description="CSV or Parquet with time, open, high, low, close, volume, as the machine that runs it sees "
        "the path; goes with source csv",
    ),
]
SymbolsField = Annotated[
    Symbols,
    Field(
        title="Symbols",
        validation_alias=AliasChoices("symbols", "symbol"),
        description="which ones, comma separated in a command, one for each item in the form; empty: those of "
        "HYBRID_ML_SYMBOLS, else all in the database",
    ),
]
MomentField = Annotated[
    Moment | None,
    Field(title="As of", description="run as of a past moment, UTC, e.g. 2018-06-01T10:20; empty: now"),
]
Fee = Annotated[
    float, Field(ge=0, le=1_000, title="Fee", description="cost of one trade, basis points, both ways together")
]
LeadersField = Annotated[
    str,
    AfterValidator(_leaders),
    Field(
        title="Leaders",
        description="symbols whose bars models see too: auto, none, BTCUSD,ETHUSD for all, EOSUSD:BTCUSD;ADAUSD:none "
        "for each; empty: those of HYBRID_ML_LEADERS, which are chosen from the training rows unless it says otherwise",
    ),
]
FlatShare = Annotated[
    float,
    Field(
        ge=0.01, le=0.9, title="FLAT share", description="the share of the training rows, the quietest, that is FLAT"
    ),
]
Workers = Annotated[int, BeforeValidator(lambda value: 0 if value == "auto" else value)]
ReportPath = Annotated[Path | None, Field(title="Folder of the report")]


class Request(BaseRequest):
    """The request of every run over symbols."""

    symbols: SymbolsField = Field([])
    source: Source = Field(
        "db",
        title="Source of bars",
        description="where bars are read: db, the database; csv, a file; demo, the simulated market",
    )
    csv_path: CsvPath = None
    as_of: MomentField = None

    @model_validator(mode="after")
    def _file_goes_with_csv(self) -> "Request":
        if self.source == "csv" and self.csv_path is None:
            raise ValueError("--source csv needs --csv_path FILE")
        if self.source != "csv" and self.csv_path is not None:
            raise ValueError(f"--csv_path {self.csv_path} goes with --source csv, not --source {self.source}")
        return self


class TrainingRequest(ExecutionOptions, Request):
    """Train a base model, evaluate it on a hold-out it has not seen, and use it if it is better."""

    progressive: bool = Field(
        False,
        title="Progressive scaling",
        description="row limit by week: 23,000, then 10,000 more a week up to 80,000 (the default without a limit)",
    )
    limit: int | None = Field(
        None,
        ge=2_000,
        le=2_000_000,
        title="Row limit",
        description="train on this many rows instead of the limit of progressive scaling",
    )
    week: int | None = Field(
        None,
        ge=0,
        le=520,
        title="Week",
        description="week of progressive scaling, 0 is the first; empty: counted from the registry",
    )
    leaders: LeadersField = ""
    flat_share: FlatShare = 0.10
    full_report: bool = Field(
        False,
        title="Hold-out in full",
        validation_alias=AliasChoices("full_report", "validate"),
        description="also print confusion matrix, precision of each class and calibration; the page in the UI "
        "always has them",
    )
    runner: Runner = "threads"

    @model_validator(mode="after")
    def _one_row_limit(self) -> "TrainingRequest":
        if self.limit is not None and (self.progressive or self.week is not None):
            other = "--progressive" if self.progressive else f"--week {self.week}"
            raise ValueError(f"--limit {self.limit} and {other} exclude each other; state one of them")
        return self


class RepairRequest(BaseRequest):
    """Ask exchanges and other feeds for what is missing of their bars."""

    symbols: SymbolsField = Field([])


class QuietHoursRequest(BaseRequest):
    """Hours without alerts."""

    sleep_window: str = Field(
        DEFAULT_WINDOW,
        title="Quiet hours",
        description="HH:MM-HH:MM local time, also across midnight: no answers are computed, alerts are suppressed",
        json_schema_extra={"pattern": r"^\d\d:\d\d-\d\d:\d\d$"},
    )
    sleep_timezone: str = Field(
        DEFAULT_ZONE,
        title="Time zone of the quiet hours",
        description="IANA name of the time zone of the quiet hours, like Europe/Berlin",
    )
    disable_sleep_window: bool = Field(
        False, title="No quiet hours", description="compute answers and send alerts at any time"
    )

    @property
    def quiet_hours(self) -> QuietHours:
        """The window of `sleep_window` and `sleep_timezone`, whether or not it is disabled."""
        return QuietHours.parse(self.sleep_window, self.sleep_timezone)

    @model_validator(mode="after")
    def _quiet_hours_are_some(self) -> "QuietHoursRequest":
        _ = self.quiet_hours
        return self


class AnalysisRequest(QuietHoursRequest, ExecutionOptions, Request):
    """Compute answers for the next ten minutes; fine-tune the model first unless in fast mode."""

    preset: PresetName = Field("balanced", title="Preset", description="set of bounds that an answer must reach")
    min_confidence: MinConfidence | None = Field(
        None, title="Least confidence", description="top probability required; empty: the preset's"
    )
    min_prob_margin: MinProbMargin | None = Field(
        None,
        title="Least margin",
        description="lead over the second class required; empty: the preset's 0.20",
    )
    max_entropy: MaxEntropy | None = Field(
        None, title="Most entropy", description="largest entropy allowed, nats; empty: the preset's 0.85"
    )
    max_signals: MaxSignals | None = Field(
        None,
        title="Most signals",
        description="signals of one run at most, the most confident first; empty: the preset's",
    )
    signals_per_day: SignalsPerDay | None = Field(
        None,
        title="Signals a day",
        description="wanted from all symbols together: raises the least confidence, never lowers it; empty: as many "
        "as pass",
    )
    fast_mode: bool = Field(False, title="Fast mode", description="use the saved model without fine-tuning")
    fine_tune_rows: int = Field(
        1_000, ge=500, le=1_000, title="Rows of a fine-tune", description="labelled rows used by fine-tuning"
    )
    enable_recent_penalty: bool = Field(
        False, title="Penalty after poor signals", description="require more confidence after poor recent signals"
    )
    report_outcomes: bool = Field(
        False, title="Report outcomes", description="reply to each alert, ten minutes later, with its outcome"
    )
    max_bar_age_minutes: float = Field(
        15,
        gt=0,
        le=1_440,
        allow_inf_nan=False,
        title="Oldest bar, minutes",
        description="older bars give no answer; beyond 9 there is no signal in any case",
    )
    runner: Runner = "threads"

    @property
    def bounds(self) -> Bounds:
        """The bounds of the preset, each replaced where the request states one."""
        stated = {name: getattr(self, name) for name in THRESHOLDS}
        return replace(PRESETS[self.preset], **{name: value for name, value in stated.items() if value is not None})


class ReplayRequest(AnalysisRequest):
    """Replay the past through the live decisions: train every Sunday, analyse every ten minutes."""

    start: Moment = Field(
        title="First moment",
        description="a Sunday 00:00 UTC for weeks like the live ones, e.g. 2018-06-03",
    )
    weeks: int = Field(4, ge=1, le=520, title="Weeks", description="how many weeks to replay")
    cycle_minutes: int = Field(
        10, ge=1, le=1_440, title="Minutes of a cycle", description="minutes between two analyses"
    )
    first_week: int = Field(
        0,
        ge=0,
        le=520,
        title="First week of scaling",
        description="week of progressive scaling at the start; 6 trains on 80,000 rows at once",
    )
    leaders: LeadersField = ""
    flat_share: FlatShare = 0.10
    workers: Workers = Field(
        1,
        ge=0,
        le=256,
        title="Workers",
        description="number of parallel processes; auto, or 0: as many as cores, memory and work allow",
    )
    runner: Literal["processes", "dask"] = Field(  # type: ignore[assignment]  # a replay has no use for threads
        "processes", title="Runner", description="where the work is executed; dask: on its cluster"
    )
    baselines: bool = Field(
        False, title="Baselines", description="also replay baselines on the same bars: guesses, a logistic regression"
    )
    fee_bps: Fee = 10
    predictions_path: Path | None = Field(
        None, title="File of predictions", description="Parquet file with a row for each cycle; empty: none"
    )
    report_path: ReportPath = Field(
        None,
        description="for Markdown, charts and JSON, with a folder for each symbol where there are several; empty: one "
        "beside the finished weeks",
    )
    advise: bool = Field(
        False, title="Advise", description="also search for better bounds of confidence, margin and entropy"
    )
    wanted_precision: float = Field(
        0.6, ge=0, le=1, title="Wanted precision", description="share of right signals that advice is to reach"
    )
    work_path: Path | None = Field(
        None,
        title="Folder of finished weeks",
        description="where they are kept, to continue from, with a folder for each symbol where there are several; "
        "empty: one in the data folder",
    )


class ReviewRequest(QuietHoursRequest):
    """Evaluate past answers: their metrics, and drift of features or accuracy."""

    symbols: SymbolsField = Field([])
    days: int = Field(30, ge=1, le=365, title="Days", description="number of days of answers to evaluate")
    as_of: MomentField = None
    drift_days: int = Field(
        3,
        ge=1,
        le=10,
        title="Days of drift",
        description="newest days whose features are compared with those before",
    )
    wanted_precision: float = Field(
        0.6, ge=0, le=1, title="Wanted precision", description="share of right signals that advice is to reach"
    )
    fee_bps: Fee = 10
    send_summary: bool = Field(
        False, title="Send a summary", description="also send a short summary to the chats, once a day"
    )
    report_path: ReportPath = Field(None, description="for Markdown, charts and JSON; empty: none is written")
