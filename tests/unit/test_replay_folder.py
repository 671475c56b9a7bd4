"""The folder of a replay, and the weeks that it keeps."""

from datetime import UTC, datetime
from pathlib import Path

import pandas as pd
import pytest

from hybrid_ml.errors import BadInput
from hybrid_ml.market.bars import MAX_GAP_MINUTES
from hybrid_ml.replay.checkpoints import ReplayFolder
from hybrid_ml.replay.fingerprints import week_fingerprints
from hybrid_ml.replay.history import Past
from hybrid_ml.replay.kept import JudgedTraining, KeptWork, TrainingKey
from hybrid_ml.replay.replayed_weeks import answers_of, champions_of, replayed_week
from tests.simulated import simulated_bars

SUNDAY = datetime(2024, 2, 4, tzinfo=UTC)


def test_bar_answered_twice_counts_once_with_the_later_answer() -> None:
    twice = [{"bar_time": SUNDAY, "signal": False}], [{"bar_time": SUNDAY, "signal": True}]
    counts = {"replaced": 0, "kept": 0}, {"replaced": 2, "kept": 1}
    weeks = [replayed_week(week, twice[week], None, counts[week]) for week in range(2)]
    assert answers_of(weeks)["signal"].tolist() == [True]
    assert champions_of(weeks) == list(counts)


def test_edited_trainings_are_noticed(tmp_path: Path) -> None:
    folder = ReplayFolder(tmp_path, {"what": "requested"}, ["bars"])
    key = TrainingKey("base", SUNDAY, None)
    folder.keep(0, KeptWork(trainings={key: JudgedTraining("ABC@one", False, "for the test")}))
    assert folder.open_week(0).trainings[key].version == "ABC@one"
    path = tmp_path / "week_000.json"
    path.write_bytes(path.read_bytes().replace(b"false", b"true"))
    with pytest.raises(BadInput, match=r"week_000.json is damaged \(it was modified\); delete week_000.json there"):
        folder.open_week(0)


def test_weeks_after_a_changed_week_are_not_used(tmp_path: Path) -> None:
    bars = simulated_bars(3_000)
    start = bars["time"].iloc[0].to_pydatetime()

    def folder_of(changed: pd.DataFrame, weeks: int = 2) -> ReplayFolder:
        fingerprints = week_fingerprints(Past(changed, MAX_GAP_MINUTES), start, weeks, {})
        return ReplayFolder(tmp_path, {}, fingerprints)

    before = folder_of(bars)
    for week in range(2):
        before.keep(week, KeptWork())
    changed = bars.copy()
    changed.loc[100, "close"] *= 1.001
    after = folder_of(changed)
    assert [before.is_kept(week) for week in range(2)] == [True, True]
    assert [after.is_kept(week) for week in range(2)] == [False, False]
    with pytest.raises(BadInput, match=r"the bars of week 0, from .* on, have changed .* delete week_000.json"):
        after.refuse_changed(start)
