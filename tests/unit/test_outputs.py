"""Outputs are tried before the work, leave nothing behind, and are written whole or not at all."""

from pathlib import Path

import pandas as pd
import pytest

from hybrid_ml.errors import BadInput
from hybrid_ml.store.output_files import refuse_unwritable_file, refuse_unwritable_folder, write_parquet

FRAME = pd.DataFrame({"a": [1, 2]})


@pytest.mark.parametrize("path", ["/proc/answers.parquet", "/nowhere/answers.parquet"])
def test_a_file_that_cannot_be_made_is_named(path: str) -> None:
    with pytest.raises(BadInput, match=f"--predictions_path {path} cannot be written .*; choose another"):
        refuse_unwritable_file(Path(path), "--predictions_path")


def test_a_folder_is_no_file_and_a_file_no_folder(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="it is a folder"):
        refuse_unwritable_file(tmp_path, "--predictions_path")
    (tmp_path / "file").write_text("kept")
    with pytest.raises(BadInput, match=r"--report_path .*file cannot be written"):
        refuse_unwritable_folder(tmp_path / "file", "--report_path")
    assert (tmp_path / "file").read_text() == "kept"


def test_trying_leaves_nothing_and_touches_nothing(tmp_path: Path) -> None:
    there = tmp_path / "answers.parquet"
    there.write_text("of last week")
    refuse_unwritable_file(there, "--predictions_path")
    refuse_unwritable_folder(tmp_path / "new" / "report", "--report_path")
    assert there.read_text() == "of last week"
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["answers.parquet", "new", "report"]


def test_a_write_that_fails_leaves_what_was_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "answers.parquet"
    write_parquet(FRAME, path, "--predictions_path")

    def full(_: pd.DataFrame, to: Path) -> None:
        Path(to).write_bytes(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(pd.DataFrame, "to_parquet", full)
    with pytest.raises(BadInput, match="No space left on device"):
        write_parquet(FRAME, path, "--predictions_path")
    assert pd.read_parquet(path).equals(FRAME)
    assert [path.name for path in tmp_path.iterdir()] == ["answers.parquet"]
