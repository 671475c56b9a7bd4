"""What a replay was worth, as one document."""

from datetime import datetime
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from hybrid_ml.evaluation.threshold_search import Advice


class ReplayReport(BaseModel):
    """What a replay was worth; `overall` and `weekly` as `replay.worth.measure` gives them.

    `replaced` and `kept`: how often a challenger took the champion's place, or did not, the first
    model included; `champions` the same of each week. `methods` as `replay.rivals.compare_methods` gives
    them, `window_gain` (in all, and of each week) as `replay.rivals.gain_of_larger_window` does.
    `advice` only where it was asked for, with the settings worth showing.
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
