"""The nightly backup as a flow: writes a file if a folder is configured, otherwise ends as Skipped."""

from pathlib import Path

import pytest
from prefect.client.schemas.objects import State
from sqlalchemy import Engine

from flows.backup import backup
from hybrid_ml.store.backup import read_manifest


def test_backup_without_configured_folder_ends_as_skipped(engine: Engine, prefect_api: str) -> None:
    state: State = backup(return_state=True)
    assert (state.type.value, state.name) == ("COMPLETED", "Skipped")
    assert "HYBRID_ML_BACKUP_DIR" in state.message


def test_backup_is_written_into_configured_folder(
    engine: Engine, prefect_api: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HYBRID_ML_BACKUP_DIR", str(tmp_path / "backups"))
    state: State = backup(return_state=True)
    assert (state.type.value, state.name) == ("COMPLETED", "Completed"), state.message
    [path] = (tmp_path / "backups").iterdir()
    assert "bars" in read_manifest(path).tables
