"""A replay that tests share: its request, what it gave, and a way to see that nothing is computed again."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from hybrid_ml.replay.result import ReplayReport

START = 3_000
"""The place of the bar with which it begins."""
FEWEST_ROWS = 2_000
"""So that its short windows are compared with the longest and the shortest usual one."""


def options_in(folder: Path, bars: pd.DataFrame) -> dict[str, Any]:
    """A replay of a week that ends after two days, with an answer every two hours; its files are in `folder`."""
    bars.to_parquet(folder / "bars.parquet")
    return {
        "source": "csv",
        "csv_path": folder / "bars.parquet",
        "symbols": ["ABC"],
        "start": bars["time"].iloc[START].to_pydatetime(),
        "weeks": 1,
        "cycle_minutes": 120,
        "disable_sleep_window": True,
        "work_path": folder / "work",
        "predictions_path": folder / "answers.parquet",
    }


@dataclass(frozen=True)
class Finished:
    """A replay that has ended: its request, its report, its page, and its answers."""

    options: dict[str, Any]
    report: ReplayReport
    page: str
    answers: pd.DataFrame


def refuse_models(monkeypatch: pytest.MonkeyPatch) -> None:
    """From now on no model may be trained or asked."""
    monkeypatch.setattr("tasks.replay.train_on", lambda *_: pytest.fail("a weekly model was trained again"))
    monkeypatch.setattr("hybrid_ml.replay.engine.train_on", lambda *_: pytest.fail("a model was trained again"))
    monkeypatch.setattr("hybrid_ml.replay.lookahead.predict_batch", lambda *_: pytest.fail("a model was asked again"))
