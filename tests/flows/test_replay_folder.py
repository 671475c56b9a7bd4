"""The folder of a finished replay: every file of it is checked, and a damaged one is named."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from flows.replay import replay
from hybrid_ml.errors import BadInput
from hybrid_ml.replay.checkpoints import ReplayFolder
from hybrid_ml.replay.replayed_weeks import replayed_week
from hybrid_ml.schemas.requests import ReplayRequest
from tests.flows.replays import Finished
from tests.flows.running import run

FILES = ["replay.json", "week_000.json", "week_000.parquet", "week_000.rivals.parquet", "*-base-*.model"]


def spoil(path: Path, damage: str) -> None:
    whole = path.read_bytes()
    if damage == "gone":
        path.unlink()
    else:
        path.write_bytes(whole[: len(whole) // 2] if damage == "cut" else b"{gar")


@pytest.mark.parametrize("pattern", FILES)
@pytest.mark.parametrize("damage", ["cut", "gone", "garbage"])
def test_damaged_file_of_a_finished_week_is_named_with_remedy(
    finished: Finished, tmp_path: Path, pattern: str, damage: str
) -> None:
    work = shutil.copytree(finished.options["work_path"], tmp_path / "work")
    [path] = work.glob(pattern)
    manifest = json.loads((work / "replay.json").read_text())
    week = replayed_week(0, [], path.stem if "base" in pattern else None, {"replaced": 0, "kept": 0})
    fingerprint = json.loads((work / "week_000.json").read_text())["bars"]
    spoil(path, damage)

    def read() -> tuple[bool, bool]:
        folder = ReplayFolder(work, manifest, [fingerprint])
        folder.refuse_changed(finished.options["start"])
        folder.open_week(0)
        folder.champion(week, "ABC")
        return folder.is_kept(0), folder.has_rivals(week, "rivals")

    if damage == "gone" and path.name in ("week_000.json", "week_000.rivals.parquet"):  # done again
        assert not all(read())
        return
    with pytest.raises(BadInput) as refused:
        read()
    assert path.name in str(refused.value)
    assert ("choose another folder" if path.name == "replay.json" else "delete") in str(refused.value)


@pytest.mark.parametrize(
    ("pattern", "damage"), list(zip(FILES, ["cut", "gone", "garbage", "cut", "gone"], strict=True))
)
def test_replay_reads_every_file_of_a_finished_week(kept: dict[str, Any], pattern: str, damage: str) -> None:
    [path] = kept["work_path"].glob(pattern)
    spoil(path, damage)
    state, refused = run(replay, ReplayRequest(**kept))
    if path.name == "week_000.json":
        assert state.is_completed(), "a week without it is replayed again"
        assert path.exists()
    else:
        assert isinstance(refused, BadInput)
        assert path.name in str(refused)
