"""Output files: checked before the work without leftovers, and written atomically."""

from pathlib import Path

import pandas as pd
import pytest

from hybrid_ml.errors import BadInput
from hybrid_ml.store.output_files import refuse_unwritable_file, refuse_unwritable_folder, write_parquet

FRAME = pd.DataFrame({"a": [1, 2]})


@pytest.mark.parametrize("path", ["/proc/answers.parquet", "/nowhere/answers.parquet"])
def test_unwritable_file_is_named(path: str) -> None:
    with pytest.raises(BadInput, match=f"--predictions_path {path} cannot be written .*; choose another"):
        refuse_unwritable_file(Path(path), "--predictions_path")


def test_folder_as_file_and_file_as_folder_are_refused(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="it is a folder"):
        refuse_unwritable_file(tmp_path, "--predictions_path")
    (tmp_path / "file").write_text("kept")
    with pytest.raises(BadInput, match=r"--report_path .*file cannot be written"):
        refuse_unwritable_folder(tmp_path / "file", "--report_path")
    assert (tmp_path / "file").read_text() == "kept"


def test_check_of_an_output_changes_no_file(tmp_path: Path) -> None:
    existing = tmp_path / "answers.parquet"
    existing.write_text("of last week")
    refuse_unwritable_file(existing, "--predictions_path")
    refuse_unwritable_folder(tmp_path / "new" / "report", "--report_path")
    assert existing.read_text() == "of last week"
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["answers.parquet", "new", "report"]


def test_failed_write_keeps_the_previous_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "answers.parquet"
    write_parquet(FRAME, path, "--predictions_path")

    def fail(_: pd.DataFrame, to: Path) -> None:
        Path(to).write_bytes(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(pd.DataFrame, "to_parquet", fail)
    with pytest.raises(BadInput, match="No space left on device"):
        write_parquet(FRAME, path, "--predictions_path")
    assert pd.read_parquet(path).equals(FRAME)
    assert [path.name for path in tmp_path.iterdir()] == ["answers.parquet"]
