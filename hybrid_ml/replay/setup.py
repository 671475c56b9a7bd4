"""The preparation of a replay: checks of its bars, the manifest of its folder, a new service."""

from datetime import datetime, timedelta
from typing import Any

import pandas as pd

from hybrid_ml.errors import BadInput, DataUnavailable
from hybrid_ml.learning.scaling import FEWEST_LABELLED_ROWS, WEEK, row_limit
from hybrid_ml.pipeline.run import Run
from hybrid_ml.replay.engine import Recipe, ReplayedService
from hybrid_ml.replay.fingerprints import fingerprint, leaders_fingerprint, manifest_fingerprint, sessions_fingerprint
from hybrid_ml.replay.history import Past
from hybrid_ml.schemas.requests import AnalysisRequest, ReplayRequest
from hybrid_ml.text.counts import counted

ABOUT_MODELS = {"start", "cycle_minutes", "first_week", "flat_share", "fast_mode", "fine_tune_rows"}
"""What of a request decides what models answer. The hours and the oldest bar decide in which cycles they do, and kept
predictions state their cycle; all else (gates, pace, penalty, fee, output) only judges the answers."""
LAYOUT = 3
"""Of the files in a folder; also raised when the code answers otherwise, for kept answers are then those of before."""
WEEKEND = timedelta(days=3)
"""A last week counts as complete when its bars end this much earlier."""


def refuse_weeks_without_bars(symbol: str, request: ReplayRequest, bars: pd.DataFrame) -> None:
    """Raise DataUnavailable for a start before the bars or after them, BadInput for weeks that begin after them."""
    start = f"--start {request.start:%Y-%m-%dT%H:%M}"
    if bars.empty or bars["time"].iloc[0] >= pd.Timestamp(request.start):
        first = "there is none" if bars.empty else f"the first is of {bars['time'].iloc[0]:%Y-%m-%d %H:%M}"
        raise DataUnavailable(f"{symbol} has no bars before {start} ({first}); choose a later start")
    last = bars["time"].iloc[-1]
    if last < pd.Timestamp(request.start):
        raise DataUnavailable(
            f"{symbol} has no bars from {start} on (the last is of {last:%Y-%m-%d %H:%M}); choose an earlier start"
        )
    weeks = (last - pd.Timestamp(request.start)) // WEEK + 1
    if weeks < request.weeks:
        raise BadInput(
            f"--weeks {request.weeks} is beyond the bars of {symbol}, the last of which is of {last:%Y-%m-%d %H:%M}; "
            f"from {start} on they cover {counted(weeks, 'week')}: --weeks {weeks}"
        )


def ends_within_last_week(request: ReplayRequest, bars: pd.DataFrame) -> bool:
    """Whether the bars, at least one, end well before the last week of the replay does."""
    return bool(bars["time"].iloc[-1] < pd.Timestamp(request.start + request.weeks * WEEK) - WEEKEND)


def refuse_too_few_rows(symbol: str, request: ReplayRequest, past: Past) -> None:
    """Raise DataUnavailable where nothing could be trained at the start."""
    labelled = len(past.labelled_rows(request.start, FEWEST_LABELLED_ROWS))
    if labelled < FEWEST_LABELLED_ROWS:
        raise DataUnavailable(
            f"{symbol} has {counted(labelled, 'labelled row')} before --start {request.start:%Y-%m-%dT%H:%M}, and a "
            f"training takes {FEWEST_LABELLED_ROWS:,} at least; choose a later start, or load older bars"
        )


def request_of(symbol: str, run: Run, request: ReplayRequest) -> ReplayRequest:
    """The request for one of the symbols of `run`: each of several has a folder of its own, and its share of a pace."""
    count = len(run.symbols)
    if count == 1:
        return request
    paths = {"work_path": request.work_path, "report_path": request.report_path}
    stated = {name: path / symbol.replace("/", "_") for name, path in paths.items() if path is not None}
    pace = request.signals_per_day
    return request.model_copy(update={**stated, "signals_per_day": None if pace is None else pace / count})


def make_manifest(symbol: str, run: Run, request: ReplayRequest, past: Past) -> dict[str, Any]:
    """Everything that models answer from: two replays with the same manifest find each other's work."""
    requested = {name: str(value) for name, value in request.model_dump(include=ABOUT_MODELS).items()}
    # Bars of later weeks may be added between two runs; those of the first training may not change.
    before = past.newest_bars(request.start, len(past.bars))
    first = before["time"].iloc[0].to_pydatetime()
    return {
        "layout": LAYOUT,
        **requested,
        **({} if past.sessions.is_always_open else {"sessions": sessions_fingerprint(past, first, request.start)}),
        **({"leader_bars": leaders_fingerprint(past, first, request.start)} if past.leaders else {}),
        "leaders": str(run.leader_wishes.of(symbol)),
        "symbol": symbol,
        "threads": run.training_threads,
        "bars": fingerprint(before),
        "max_gap_minutes": run.max_gap_minutes,
    }


def folder_name(request: ReplayRequest, manifest: dict[str, Any]) -> str:
    """The default folder of a replay."""
    name = f"{manifest['symbol']}-{request.start:%Y%m%dT%H%M}-{manifest_fingerprint(manifest)[:8]}"
    return name.replace("/", "_")


def new_service(symbol: str, run: Run, request: ReplayRequest) -> ReplayedService:
    """A service without models and answers."""

    def scaling(now: datetime) -> tuple[int, int]:
        week = request.first_week + (now - request.start) // WEEK
        return week, row_limit(week)

    message = AnalysisRequest(
        **request.model_dump(include=set(AnalysisRequest.model_fields) - {"as_of", "runner", "dask_address"})
    )
    recipe = Recipe(run.leader_wishes.of(symbol), run.flat_share)
    return ReplayedService(symbol, message, scaling, run.training_threads, recipe)
