"""What a run may be asked: one model is the flow's parameter, the form in the Prefect UI, the
command line's flags and the deployment's parameters."""

import re
from dataclasses import replace
from datetime import UTC, date, datetime, time
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AliasChoices, BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from hybrid_ml.signals.presets import PRESETS, Bounds, PresetName
from hybrid_ml.signals.quiet_hours import DEFAULT_WINDOW, DEFAULT_ZONE, QuietHours
from hybrid_ml.thresholds import THRESHOLDS, MaxEntropy, MaxSignals, MinConfidence, MinProbMargin

Source = Literal["db", "csv", "demo"]
LONGEST_SYMBOL = 64
EARLIEST, LATEST = 1900, 2200
SYMBOL = re.compile(r"[^\s,@\[\]\x00-\x1f\x7f](?:[^,@\[\]\x00-\x1f\x7f]*[^\s,@\[\]\x00-\x1f\x7f])?")


def _symbols(value: Any) -> Any:
    """Split at commas, drop repetitions, refuse what cannot name a symbol."""
    if isinstance(value, str):
        value = value.split(",")
    if not isinstance(value, (list, tuple)):
        return value
    return list(dict.fromkeys(_symbol(name) for name in value))


def _symbol(value: Any) -> str:
    """A name without the blanks around it; refuse what cannot name a symbol."""
    name = value.strip() if isinstance(value, str) else ""
    if not SYMBOL.fullmatch(name) or len(name) > LONGEST_SYMBOL:
        raise ValueError(
            f"{value!r} cannot name a symbol: 1 to {LONGEST_SYMBOL} characters, no commas, @, brackets or control"
        )
    return name


def _moment(value: Any) -> datetime:
    """A time with its zone; without one it is UTC. A date is its first moment; a bare number is no time.

    Refused too is a year that no bars are of: a calendar ends, and looking back from its first day would fail.
    """
    moment = None
    try:
        if isinstance(value, str) and re.match(r"\s*(\d{4}-\d\d|\d{8}T)", value):
            value = datetime.fromisoformat(value.strip())
        elif isinstance(value, date) and not isinstance(value, datetime):
            value = datetime.combine(value, time())
        if isinstance(value, datetime):
            moment = value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)
    except (ValueError, OverflowError):
        pass  # said below, for every way of not being a time
    if moment is None:
        raise ValueError(f"{value!r} is no time; write it like 2018-06-01T10:20 (UTC)")
    if not EARLIEST <= moment.year <= LATEST:
        raise ValueError(f"{moment.date()}: no bars are of that year; give one of {EARLIEST} to {LATEST}")
    return moment


Symbol = Annotated[str, BeforeValidator(_symbol)]
Symbols = Annotated[list[str], BeforeValidator(_symbols)]
Moment = Annotated[datetime, BeforeValidator(_moment)]
CsvPath = Annotated[
    Path | None,
    Field(description="file of bars for --source csv: CSV or Parquet with time, open, high, low, close, volume"),
]


SymbolsAsked = Annotated[
    Symbols,
    Field(
        validation_alias=AliasChoices("symbols", "symbol"),
        description="symbols, comma separated; empty: HYBRID_ML_SYMBOLS, else all in the database",
    ),
]
MomentAsked = Annotated[
    Moment | None,
    Field(description="judge the past as if it were now, e.g. 2018-06-01T10:20 (UTC); empty: now"),
]


class Request(BaseModel):
    """What every run over symbols can be asked."""

    model_config = ConfigDict(extra="forbid", frozen=True, validate_by_name=True)

    symbols: SymbolsAsked = []
    source: Source = Field("db", description="where bars are read: the database, a file, or the simulated market")
    csv_path: CsvPath = None
    as_of: MomentAsked = None

    @model_validator(mode="after")
    def _file_goes_with_csv(self) -> "Request":
        if self.source == "csv" and self.csv_path is None:
            raise ValueError("--source csv needs --csv_path FILE")
        if self.source != "csv" and self.csv_path is not None:
            raise ValueError(f"--csv_path {self.csv_path} goes with --source csv, not --source {self.source}")
        return self


class TrainingRequest(Request):
    """Train a base model, judge it on a hold-out it has not seen, and let it serve if it is better."""

    progressive: bool = Field(
        False,
        description="row limit by week: 23,000, then 10,000 more a week up to 80,000 (the default without --limit)",
    )
    limit: int | None = Field(None, ge=2_000, le=2_000_000, description="train on this many rows instead")
    week: int | None = Field(
        None, ge=0, le=520, description="week of progressive scaling, instead of the registry's count"
    )
    full_report: bool = Field(
        False,
        validation_alias=AliasChoices("validate", "full_report"),
        description="also print the hold-out report in full: confusion matrix, precision of each class, calibration",
    )

    @model_validator(mode="after")
    def _one_row_limit(self) -> "TrainingRequest":
        if self.limit is not None and (self.progressive or self.week is not None):
            other = "--progressive" if self.progressive else f"--week {self.week}"
            raise ValueError(f"--limit {self.limit} and {other} exclude each other; give one of them")
        return self


class QuietHoursAsked(BaseModel):
    """When the chats are not to be disturbed."""

    sleep_window: str = Field(
        DEFAULT_WINDOW,
        description="quiet hours, HH:MM-HH:MM local time, also across midnight: nothing is asked, no alert leaves",
    )
    sleep_timezone: str = Field(
        DEFAULT_ZONE, description="time zone of the quiet hours, an IANA name like Europe/Berlin"
    )
    disable_sleep_window: bool = Field(False, description="no quiet hours: ask and alert at any time")

    @property
    def quiet_hours(self) -> QuietHours:
        """The window of `sleep_window` and `sleep_timezone`, whether or not it is disabled."""
        return QuietHours.parse(self.sleep_window, self.sleep_timezone)

    @model_validator(mode="after")
    def _quiet_hours_are_some(self) -> "QuietHoursAsked":
        _ = self.quiet_hours
        return self


class AnalysisRequest(Request, QuietHoursAsked):
    """Ask the saved model about the next ten minutes; fine-tune it first unless in fast mode."""

    preset: PresetName = Field("balanced", description="how sure an answer must be to become a signal")
    min_confidence: MinConfidence | None = Field(None, description="top probability needed, instead of the preset's")
    min_prob_margin: MinProbMargin | None = Field(None, description="lead over the second class needed (preset: 0.20)")
    max_entropy: MaxEntropy | None = Field(None, description="largest entropy allowed, nats (preset: 0.85)")
    max_signals: MaxSignals | None = Field(None, description="signals of one run at most, the surest first")
    fast_mode: bool = Field(False, description="skip fine-tuning and ask the saved model as it is")
    fine_tune_rows: int = Field(1_000, ge=500, le=1_000, description="labelled rows a fine-tune looks at")
    enable_recent_penalty: bool = Field(False, description="ask for more confidence after poor recent signals")
    report_outcomes: bool = Field(False, description="answer each alert, ten minutes later, with what came of it")
    max_bar_age_minutes: float = Field(
        15, gt=0, le=1_440, allow_inf_nan=False, description="older bars give no answer; no signal beyond 9 anyway"
    )

    @property
    def bounds(self) -> Bounds:
        """The bounds of the preset, each replaced where the request states its own."""
        stated = {name: getattr(self, name) for name in THRESHOLDS}
        return replace(PRESETS[self.preset], **{name: value for name, value in stated.items() if value is not None})


class ReplayRequest(AnalysisRequest):
    """Replay the past through the live decisions: train every Sunday, analyse every ten minutes."""

    start: Moment = Field(description="first moment, a Sunday 00:00 UTC for a week as live weeks are, e.g. 2018-06-03")
    weeks: int = Field(4, ge=1, le=520, description="how many weeks to replay")
    cycle_minutes: int = Field(10, ge=1, le=1_440, description="minutes between two analyses")
    first_week: int = Field(
        0, ge=0, le=520, description="week of progressive scaling at the start; 6 trains on 80,000 rows at once"
    )
    workers: int = Field(1, ge=1, le=256, description="processes to spread the work over")
    runner: Literal["processes", "dask"] = Field("processes", description="what spreads it; dask: over its cluster")
    baselines: bool = Field(False, description="also replay what else could have answered: guesses and other models")
    fee_bps: float = Field(10, ge=0, le=1_000, description="cost of one trade, basis points, both ways together")
    predictions_path: Path | None = Field(None, description="Parquet file for a row a cycle")
    report_path: Path | None = Field(
        None, description="folder for the report: Markdown, charts, JSON; empty: one beside the finished weeks"
    )
    advise: bool = Field(False, description="also say which confidence, margin and entropy would have given what")
    wanted_precision: float = Field(0.6, ge=0, le=1, description="share of right signals that --advise looks for")
    work_path: Path | None = Field(
        None, description="folder where finished weeks are kept, to go on from; empty: one in the data folder"
    )

    @model_validator(mode="after")
    def _one_symbol(self) -> "ReplayRequest":
        if len(self.symbols) > 1:
            raise ValueError(f"a replay is of one symbol, not {', '.join(self.symbols)}")
        return self


class ReviewRequest(QuietHoursAsked):
    """Look back on what was answered: what it was worth, and whether the market or the record has changed."""

    model_config = ConfigDict(extra="forbid", frozen=True, validate_by_name=True)

    symbols: SymbolsAsked = []
    days: int = Field(30, ge=1, le=365, description="how many days of answers to look back on")
    as_of: MomentAsked = None
    drift_days: int = Field(3, ge=1, le=10, description="newest days whose features are held against those before")
    wanted_precision: float = Field(0.6, ge=0, le=1, description="share of right signals that advice looks for")
    fee_bps: float = Field(10, ge=0, le=1_000, description="cost of one trade, basis points, both ways together")
    send_summary: bool = Field(False, description="also tell the chats in a few lines, once a day")
    report_path: Path | None = Field(None, description="folder for the report: Markdown, charts, JSON; empty: none")


class BackfillRequest(BaseModel):
    """Load bars into the database; loading the same bars again does no harm."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    source: Literal["csv", "demo"] = Field("csv", description="a file of bars, or the simulated market")
    csv_path: CsvPath = None
    symbol: Symbol | None = Field(None, description="symbol of the bars; the simulated ones are always DEMO")
    bars: int = Field(30_000, ge=1, le=2_000_000, description="how many bars to simulate with --source demo")
    seed: int = Field(7, ge=0, description="seed of the simulated market")
    sessions: bool = Field(False, description="simulate an exchange with sessions instead of one that never sleeps")
    until: Moment | None = Field(None, description="end of the simulated bars; empty: now")

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
