"""Free disk space and sizes of folders, on the real disks of this machine."""

from pathlib import Path

import pytest

from hybrid_ml.config.settings import load_settings
from hybrid_ml.diagnostics.checks import check_up
from hybrid_ml.diagnostics.sizes import folder_bytes
from hybrid_ml.health.disk import free_disks


def test_disk_of_missing_folders_is_measured_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HYBRID_ML_DATA_DIR", str(tmp_path / "data"))
    monkeypatch.setenv("HYBRID_ML_MODELS_DIR", str(tmp_path / "data" / "models"))
    (disk,) = free_disks(load_settings())
    assert disk.folder == tmp_path / "data"
    assert disk.free_mb > 0
    assert not (tmp_path / "data").exists()


@pytest.mark.parametrize(
    ("times_free", "state"), [(0.5, "fine"), (2, "warning"), (40, "failed")], ids=["enough", "little", "nearly none"]
)
def test_low_disk_is_a_warning_and_very_low_disk_a_failure(
    times_free: float, state: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The minimum is relative to the free space, so that the test works on any machine."""
    monkeypatch.setenv("HYBRID_ML_DATA_DIR", str(tmp_path))
    monkeypatch.setenv("HYBRID_ML_MODELS_DIR", str(tmp_path))
    min_free_mb = int(free_disks(load_settings())[0].free_mb * times_free)
    monkeypatch.setenv("HYBRID_ML_MIN_FREE_MB", str(min_free_mb))
    finding = next(found for found in check_up(load_settings(), None) if found.part == "disk")
    assert finding.state == state
    assert "MB free at" in finding.text
    assert ("HYBRID_ML_MIN_FREE_MB" in finding.text) == (state != "fine")


def test_folder_size_counts_files_and_follows_no_links(tmp_path: Path) -> None:
    (tmp_path / "below").mkdir()
    (tmp_path / "below" / "file").write_bytes(b"x" * 100_000)
    (tmp_path / "loop").symlink_to(tmp_path)
    assert 100_000 <= folder_bytes(tmp_path) < 200_000
    assert folder_bytes(tmp_path / "missing") == 0
