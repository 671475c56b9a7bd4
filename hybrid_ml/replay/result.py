"""The result of a replay of one symbol or of several, as one document."""

from datetime import datetime
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from hybrid_ml.evaluation.threshold_search import Advice


class ReplayReport(BaseModel):
    """The result of a replay; `overall` and `weekly` as returned by `outcome_metrics.measure`.

    `replaced` and `kept`: how often a challenger replaced the champion, or did not, the first
    model included; `champions` the same of each week. `methods` as returned by `compare_methods`,
    `window_gain` (in all, and of each week) as returned by `gain_of_larger_window`.
    `advice` only where requested, with the settings worth showing. `judged_by`: gates, pace, penalty, quiet hours.
    """

    symbol: str
    start: datetime
    weeks: int
    cycles: int
    replaced: int
    kept: int
    cycle_minutes: int
    fast_mode: bool
    awake_always: bool
    judged_by: str
    fee_bps: float
    overall: dict[str, Any]
    weekly: list[dict[str, Any]]
    champions: list[dict[str, int]]
    methods: list[dict[str, Any]]
    window_gain: dict[str, Any] | None
    weekly_window_gain: list[dict[str, Any] | None]
    advice: Advice | None
    folder: Path
    report_path: Path
    seconds: float


class ReplaysReport(BaseModel):
    """The results of several symbols, in the order of the request; `comparison_path`: the page that compares them."""

    replays: list[ReplayReport]
    comparison_path: Path
