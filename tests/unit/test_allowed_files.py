"""Files that a run of a deployment may name."""

from pathlib import Path

import pytest

from hybrid_ml.config.settings import Settings, load_settings
from hybrid_ml.errors import BadInput
from hybrid_ml.store.allowed_files import refuse_disallowed_paths


@pytest.fixture
def settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    for name in ("data", "data/postgres", "data/replays", "files", "outside", "work"):
        (tmp_path / name).mkdir()
    monkeypatch.chdir(tmp_path / "work")
    monkeypatch.setenv("HYBRID_ML_DATA_DIR", str(tmp_path / "data"))
    monkeypatch.setenv("HYBRID_ML_FILES", f"/nowhere,{tmp_path / 'files'}")
    (tmp_path / "files" / "link").symlink_to(tmp_path / "outside")
    (tmp_path / "files" / "circle").symlink_to(tmp_path / "files" / "circle")
    return load_settings()


@pytest.mark.parametrize("name", ["data/bars.csv", "files/a/bars.csv", "work/bars.csv", "work/../files/bars.csv"])
def test_files_in_allowed_folders_are_accepted(tmp_path: Path, settings: Settings, name: str) -> None:
    refuse_disallowed_paths({"csv_path": tmp_path / name, "report_path": (tmp_path / name).parent}, settings)
    refuse_disallowed_paths({"csv_path": Path("bars.csv")}, settings)


@pytest.mark.parametrize(
    "name",
    [
        "outside/bars.csv", "files/../outside/bars.csv", "files/link/bars.csv", "files/circle", "work/.env",
        "files/.git/config", "data/postgres/PG_VERSION", "filesystem/bars.csv",
        "/etc/shadow", "/proc/self/environ", "a\x00b",
    ],
)  # fmt: skip
@pytest.mark.parametrize("flag", ["csv_path", "report_path", "work_path", "predictions_path"])
def test_other_files_are_refused_with_the_setting(tmp_path: Path, settings: Settings, name: str, flag: str) -> None:
    with pytest.raises(BadInput, match="name its folder in HYBRID_ML_FILES") as raised:
        refuse_disallowed_paths({flag: tmp_path / name}, settings)
    assert f"--{flag} " in str(raised.value)


def test_output_may_replace_only_parquet_files(tmp_path: Path, settings: Settings) -> None:
    existing = tmp_path / "files" / "settings.parquet"
    existing.write_text("mine")
    with pytest.raises(BadInput, match="is there already and no Parquet file"):
        refuse_disallowed_paths({"predictions_path": existing}, settings)
    with pytest.raises(BadInput, match=r"must end in \.parquet or \.pq"):
        refuse_disallowed_paths({"predictions_path": tmp_path / "work" / "json.py"}, settings)
    existing.write_bytes(b"PAR1")
    refuse_disallowed_paths({"predictions_path": existing}, settings)
