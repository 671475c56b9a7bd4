"""The nightly backup as a flow: a file where a folder is configured, a plain end where none is."""

from pathlib import Path

import pytest
from prefect.client.schemas.objects import State
from sqlalchemy import Engine

from flows.backup import backup
from hybrid_ml.store.backup import read_manifest


def test_it_ends_as_skipped_where_no_folder_is_configured(engine: Engine, prefect_api: str) -> None:
    state: State = backup(return_state=True)
    assert (state.type.value, state.name) == ("COMPLETED", "Skipped")
    assert "HYBRID_ML_BACKUP_DIR" in state.message


def test_it_writes_one_into_the_folder(
    engine: Engine, prefect_api: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HYBRID_ML_BACKUP_DIR", str(tmp_path / "backups"))
    state: State = backup(return_state=True)
    assert (state.type.value, state.name) == ("COMPLETED", "Completed"), state.message
    [path] = (tmp_path / "backups").iterdir()
    assert "bars" in read_manifest(path).tables
