"""What a run may be asked: one model is the flow's parameter, the form in the Prefect UI, the
command line's flags and the deployment's parameters.

A title names a field in the form, where its name is not seen; a description serves the form and `--help`.
"""

from dataclasses import replace
from pathlib import Path
from typing import Annotated, Literal

from pydantic import AliasChoices, Field, model_validator

from hybrid_ml.config.thresholds import THRESHOLDS, MaxEntropy, MaxSignals, MinConfidence, MinProbMargin
from hybrid_ml.schemas.execution_options import ExecutionOptions, Runner
from hybrid_ml.schemas.fields import BaseRequest, Moment, Symbol, Symbols
from hybrid_ml.signals.presets import PRESETS, Bounds, PresetName
from hybrid_ml.signals.quiet_hours import DEFAULT_WINDOW, DEFAULT_ZONE, QuietHours

Source = Literal["db", "csv", "demo"]
CsvPath = Annotated[
    Path | None,
    Field(
        title="File of bars",
        description="CSV or Parquet with time, open, high, low, close, volume, as the machine that runs it sees "
        "the path; goes with source csv",
    ),
]
SymbolsAsked = Annotated[
    Symbols,
    Field(
        title="Symbols",
        validation_alias=AliasChoices("symbols", "symbol"),
        description="which ones, comma separated in a command, one an item in the form; empty: those of "
        "HYBRID_ML_SYMBOLS, else all in the database",
    ),
]
MomentAsked = Annotated[
    Moment | None,
    Field(title="As of", description="judge the past as if it were now, UTC, e.g. 2018-06-01T10:20; empty: now"),
]
Fee = Annotated[
    float, Field(ge=0, le=1_000, title="Fee", description="cost of one trade, basis points, both ways together")
]
ReportPath = Annotated[Path | None, Field(title="Folder of the report")]


class Request(BaseRequest):
    """What every run over symbols can be asked."""

    symbols: SymbolsAsked = Field([])
    source: Source = Field(
        "db",
        title="Source of bars",
        description="where bars are read: db, the database; csv, a file; demo, the simulated market",
    )
    csv_path: CsvPath = None
    as_of: MomentAsked = None

    @model_validator(mode="after")
    def _file_goes_with_csv(self) -> "Request":
        if self.source == "csv" and self.csv_path is None:
            raise ValueError("--source csv needs --csv_path FILE")
        if self.source != "csv" and self.csv_path is not None:
            raise ValueError(f"--csv_path {self.csv_path} goes with --source csv, not --source {self.source}")
        return self


class TrainingRequest(ExecutionOptions, Request):
    """Train a base model, judge it on a hold-out it has not seen, and let it serve if it is better."""

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
        description="train on this many rows instead of what progressive scaling gives",
    )
    week: int | None = Field(
        None,
        ge=0,
        le=520,
        title="Week",
        description="week of progressive scaling, 0 is the first; empty: as the registry counts",
    )
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
            raise ValueError(f"--limit {self.limit} and {other} exclude each other; give one of them")
        return self


class QuietHoursAsked(BaseRequest):
    """When the chats are not to be disturbed."""

    sleep_window: str = Field(
        DEFAULT_WINDOW,
        title="Quiet hours",
        description="HH:MM-HH:MM local time, also across midnight: nothing is asked, no alert leaves",
        json_schema_extra={"pattern": r"^\d\d:\d\d-\d\d:\d\d$"},
    )
    sleep_timezone: str = Field(
        DEFAULT_ZONE,
        title="Time zone of the quiet hours",
        description="IANA name of the zone whose clock the quiet hours go by, like Europe/Berlin",
    )
    disable_sleep_window: bool = Field(
        False, title="No quiet hours", description="ask and alert at any time, quiet hours or not"
    )

    @property
    def quiet_hours(self) -> QuietHours:
        """The window of `sleep_window` and `sleep_timezone`, whether or not it is disabled."""
        return QuietHours.parse(self.sleep_window, self.sleep_timezone)

    @model_validator(mode="after")
    def _quiet_hours_are_some(self) -> "QuietHoursAsked":
        _ = self.quiet_hours
        return self


class AnalysisRequest(QuietHoursAsked, ExecutionOptions, Request):
    """Ask the saved model about the next ten minutes; fine-tune it first unless in fast mode."""

    preset: PresetName = Field("balanced", title="Preset", description="how sure an answer must be to become a signal")
    min_confidence: MinConfidence | None = Field(
        None, title="Least confidence", description="top probability needed; empty: the preset's"
    )
    min_prob_margin: MinProbMargin | None = Field(
        None,
        title="Least margin",
        description="lead over the second class needed; empty: the preset's 0.20",
    )
    max_entropy: MaxEntropy | None = Field(
        None, title="Most entropy", description="largest entropy allowed, nats; empty: the preset's 0.85"
    )
    max_signals: MaxSignals | None = Field(
        None,
        title="Most signals",
        description="signals of one run at most, the surest first; empty: the preset's",
    )
    fast_mode: bool = Field(False, title="Fast mode", description="skip fine-tuning and ask the saved model as it is")
    fine_tune_rows: int = Field(
        1_000, ge=500, le=1_000, title="Rows of a fine-tune", description="labelled rows a fine-tune looks at"
    )
    enable_recent_penalty: bool = Field(
        False, title="Penalty after poor signals", description="ask for more confidence after poor recent signals"
    )
    report_outcomes: bool = Field(
        False, title="Report outcomes", description="answer each alert, ten minutes later, with what came of it"
    )
    max_bar_age_minutes: float = Field(
        15,
        gt=0,
        le=1_440,
        allow_inf_nan=False,
        title="Oldest bar, minutes",
        description="older bars give no answer; no signal beyond 9 anyway",
    )
    runner: Runner = "threads"

    @property
    def bounds(self) -> Bounds:
        """The bounds of the preset, each replaced where the request states its own."""
        stated = {name: getattr(self, name) for name in THRESHOLDS}
        return replace(PRESETS[self.preset], **{name: value for name, value in stated.items() if value is not None})


class ReplayRequest(AnalysisRequest):
    """Replay the past through the live decisions: train every Sunday, analyse every ten minutes."""

    start: Moment = Field(
        title="First moment",
        description="a Sunday 00:00 UTC for a week as live weeks are, e.g. 2018-06-03",
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
    workers: int = Field(1, ge=1, le=256, title="Workers", description="processes to spread the work over")
    runner: Literal["processes", "dask"] = Field(  # type: ignore[assignment]  # a replay has no use for threads
        "processes", title="Runner", description="what spreads it; dask: over its cluster"
    )
    baselines: bool = Field(
        False, title="Baselines", description="also replay what else could have answered: guesses and other models"
    )
    fee_bps: Fee = 10
    predictions_path: Path | None = Field(
        None, title="File of predictions", description="Parquet file for a row a cycle; empty: none"
    )
    report_path: ReportPath = Field(
        None, description="gets Markdown, charts and JSON; empty: one beside the finished weeks"
    )
    advise: bool = Field(
        False, title="Advise", description="also say which confidence, margin and entropy would have given what"
    )
    wanted_precision: float = Field(
        0.6, ge=0, le=1, title="Wanted precision", description="share of right signals that advice looks for"
    )
    work_path: Path | None = Field(
        None,
        title="Folder of finished weeks",
        description="where they are kept, to go on from; empty: one in the data folder",
    )

    @model_validator(mode="after")
    def _one_symbol(self) -> "ReplayRequest":
        if len(self.symbols) > 1:
            raise ValueError(f"a replay is of one symbol, not {', '.join(self.symbols)}")
        return self


class ReviewRequest(QuietHoursAsked):
    """Look back on what was answered: what it was worth, and whether the market or the record has changed."""

    symbols: SymbolsAsked = Field([])
    days: int = Field(30, ge=1, le=365, title="Days", description="how many days of answers to look back on")
    as_of: MomentAsked = None
    drift_days: int = Field(
        3,
        ge=1,
        le=10,
        title="Days of drift",
        description="newest days whose features are held against those before",
    )
    wanted_precision: float = Field(
        0.6, ge=0, le=1, title="Wanted precision", description="share of right signals that advice looks for"
    )
    fee_bps: Fee = 10
    send_summary: bool = Field(
        False, title="Send a summary", description="also tell the chats in a few lines, once a day"
    )
    report_path: ReportPath = Field(None, description="gets Markdown, charts and JSON; empty: none is written")


class BackfillRequest(BaseRequest):
    """Load bars into the database; loading the same bars again does no harm."""

    source: Literal["csv", "demo"] = Field(
        "csv", title="Source of bars", description="csv: a file of bars; demo: the simulated market"
    )
    csv_path: CsvPath = None
    symbol: Symbol | None = Field(
        None, title="Symbol", description="symbol of the bars, needed with source csv; simulated ones are always DEMO"
    )
    bars: int = Field(
        30_000, ge=1, le=2_000_000, title="Simulated bars", description="how many bars to simulate with source demo"
    )
    seed: int = Field(
        7, ge=0, le=2**32 - 1, title="Seed", description="seed of the simulated market; the same one, the same bars"
    )
    sessions: bool = Field(
        False, title="Sessions", description="simulate an exchange with sessions instead of one that never sleeps"
    )
    until: Moment | None = Field(
        None, title="Until", description="end of the simulated bars, UTC, e.g. 2024-06-01; empty: now"
    )

    @model_validator(mode="after")
    def _source_has_what_it_needs(self) -> "BackfillRequest":
        if self.source == "csv":
            if self.csv_path is None:
                raise ValueError("--source csv needs --csv_path FILE")
            if self.symbol is None:
                raise ValueError("--source csv needs --symbol NAME, the symbol these bars belong to")
        elif self.csv_path is not None:
            raise ValueError(f"--csv_path {self.csv_path} goes with --source csv, not --source demo")
        return self
