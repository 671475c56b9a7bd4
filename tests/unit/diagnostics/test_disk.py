"""Free disk and what takes room, on the real disks of the machine that tests run on."""

from pathlib import Path

import pytest

from hybrid_ml.config.settings import load_settings
from hybrid_ml.diagnostics.checks import check_up
from hybrid_ml.diagnostics.sizes import folder_bytes
from hybrid_ml.health.disk import free_disks


def test_a_disk_is_named_once_and_measured_where_its_folder_is_still_to_be_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HYBRID_ML_DATA_DIR", str(tmp_path / "data"))
    monkeypatch.setenv("HYBRID_ML_MODELS_DIR", str(tmp_path / "data" / "models"))
    (disk,) = free_disks(load_settings())
    assert disk.folder == tmp_path / "data"
    assert disk.free_mb > 0
    assert not (tmp_path / "data").exists()


@pytest.mark.parametrize(
    ("times_free", "state"), [(0.5, "fine"), (2, "look"), (40, "failed")], ids=["enough", "little", "nearly none"]
)
def test_little_free_disk_is_yellow_and_nearly_none_is_red(
    times_free: float, state: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is wanted is stated against what is free here, so that it holds on any machine."""
    monkeypatch.setenv("HYBRID_ML_DATA_DIR", str(tmp_path))
    monkeypatch.setenv("HYBRID_ML_MODELS_DIR", str(tmp_path))
    wanted_mb = int(free_disks(load_settings())[0].free_mb * times_free)
    monkeypatch.setenv("HYBRID_ML_MIN_FREE_MB", str(wanted_mb))
    finding = next(found for found in check_up(load_settings(), None) if found.part == "disk")
    assert finding.state == state
    assert "MB free at" in finding.text
    assert ("HYBRID_ML_MIN_FREE_MB" in finding.text) == (state != "fine")


def test_a_folder_is_as_big_as_its_files_and_links_lead_nowhere(tmp_path: Path) -> None:
    (tmp_path / "below").mkdir()
    (tmp_path / "below" / "file").write_bytes(b"x" * 100_000)
    (tmp_path / "loop").symlink_to(tmp_path)
    assert 100_000 <= folder_bytes(tmp_path) < 200_000
    assert folder_bytes(tmp_path / "missing") == 0
