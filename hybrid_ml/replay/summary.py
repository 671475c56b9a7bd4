"""The report of a replay: every metric of its answers, in all and week by week."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import pandas as pd

from hybrid_ml.evaluation.outcome_metrics import (
    ResolvedAnswers,
    blind_precision,
    followed_signals,
    measure,
    precision_by_coverage,
)
from hybrid_ml.evaluation.signal_returns import equity
from hybrid_ml.evaluation.threshold_search import advise
from hybrid_ml.learning.reliability import reliability
from hybrid_ml.learning.scaling import WEEK
from hybrid_ml.market.bars import BAR_LENGTH
from hybrid_ml.replay.method_comparison import compare_methods, gain_of_larger_window
from hybrid_ml.replay.result import ReplayReport
from hybrid_ml.schemas.requests import ReplayRequest


@dataclass(frozen=True)
class Curves:
    """The data of the charts: `reliability`, `precision_by_coverage`, `blind_precision`; `equity` of the signals."""

    reliability: pd.DataFrame
    coverage: pd.DataFrame
    blind: float
    equity: pd.DataFrame

    def records(self) -> dict[str, Any]:
        """The same for JSON."""
        return {
            "reliability": self.reliability.to_dict("records"),
            "precision_by_coverage": self.coverage.to_dict("records"),
            "blind_precision": self.blind,
            "equity": self.equity.to_dict("records"),
        }


def account(
    symbol: str,
    request: ReplayRequest,
    answers: pd.DataFrame,
    rivals: pd.DataFrame,
    champions: list[dict[str, int]],
    folder: Path,
    report_path: Path,
    seconds: float,
) -> ReplayReport:
    """Measure `answers` (one row for each bar, see `Service.cycle`) and `rivals` (see `replay.baselines`).

    `champions`: replaced and kept of each week; `seconds`: the duration of the replay. The advice contains
    every setting tried; see `Advice.shortened`.
    """
    weekly, weekly_rivals = (by_week(frame, request.start, request.weeks) for frame in (answers, rivals))
    bounds, fee = request.bounds, request.fee_bps
    return ReplayReport(
        symbol=symbol,
        start=request.start,
        weeks=request.weeks,
        cycles=len(answers),
        replaced=sum(week["replaced"] for week in champions),
        kept=sum(week["kept"] for week in champions),
        cycle_minutes=request.cycle_minutes,
        fast_mode=request.fast_mode,
        awake_always=request.disable_sleep_window,
        judged_by=format_judging(request),
        fee_bps=fee,
        overall=measure(answers, fee),
        weekly=[measure(week, fee) for week in weekly],
        champions=champions,
        methods=compare_methods(answers, rivals),
        window_gain=gain_of_larger_window(rivals),
        weekly_window_gain=[gain_of_larger_window(week) for week in weekly_rivals],
        advice=advise(answers, bounds, wanted_precision=request.wanted_precision, fee_bps=fee)
        if request.advise
        else None,
        folder=folder,
        report_path=report_path,
        seconds=seconds,
    )


def format_judging(request: ReplayRequest) -> str:
    """What turned the answers into signals, in words: everything that may be another at the next run."""
    bounds = request.bounds
    words = [
        f"preset {request.preset}",
        f"confidence at least {bounds.min_confidence:g}",
        f"margin at least {bounds.min_prob_margin:g}",
        f"entropy at most {bounds.max_entropy:g}",
    ]
    words += [f"a pace of {bounds.signals_per_day:g} signals a day"] if bounds.signals_per_day is not None else []
    words += ["a penalty after poor signals"] if request.enable_recent_penalty else []
    hours = f"quiet hours {request.sleep_window} {request.sleep_timezone}"
    return ", ".join([*words, "no quiet hours" if request.disable_sleep_window else hours])


def by_week(frame: pd.DataFrame, start: datetime, weeks: int) -> list[pd.DataFrame]:
    """`frame` divided into weeks from `start` on, by `as_of`, else by the close of its bar."""
    if frame.empty:
        return [frame] * weeks
    moments = frame["as_of"] if "as_of" in frame else frame["bar_time"] + BAR_LENGTH
    place = ((moments - start) // WEEK).clip(0, weeks - 1)
    return [frame[place == week] for week in range(weeks)]


def curves(answers: pd.DataFrame, fee_bps: float) -> Curves | None:
    """The curves of `answers`; None where none has an outcome."""
    known = ResolvedAnswers.of(answers)
    if not len(known):
        return None
    probabilities, truth = known.probabilities(), known.truth
    return Curves(
        reliability(probabilities, truth),
        precision_by_coverage(probabilities, truth),
        blind_precision(truth),
        equity(followed_signals(known), fee_bps),
    )


def weekly_curves(answers: pd.DataFrame, start: datetime, weeks: int, fee_bps: float) -> Mapping[str, Curves]:
    """The curves of each week with outcomes, by the day it begins."""
    parts = by_week(answers, start, weeks)
    by_day = {f"{start + week * WEEK:%Y-%m-%d}": curves(part, fee_bps) for week, part in enumerate(parts)}
    return {name: item for name, item in by_day.items() if item is not None}
