"""Which files a run of a deployment may read and write."""

from collections.abc import Mapping
from pathlib import Path

from hybrid_ml.config.settings import Settings, project_folder
from hybrid_ml.errors import BadInput

OF_THE_DATABASE = "postgres"
"""The folder of the embedded PostgreSQL in the data folder."""
WRITTEN_FILES = {"predictions_path": (".parquet", ".pq")}
"""Files that a run writes at a path of the user's choice, and their allowed suffixes: no program, no settings file."""
PARQUET_BEGINS = b"PAR1"


def refuse_disallowed_paths(paths: Mapping[str, Path], settings: Settings) -> None:
    """Raise BadInput, naming the setting, unless each of `paths` (by its flag) may be used by a run of a deployment.

    With links and `..` resolved, it must lie in the working, project or data folder or in one of HYBRID_ML_FILES, must
    not be hidden there, and not belong to the database. The error does not reveal whether a refused file exists.
    """
    folders = [Path.cwd(), project_folder(), settings.data_dir, *settings.file_folders]
    for flag, path in paths.items():
        real = _resolved(path)
        if real is None or not any(_is_open(real, folder, settings.data_dir) for folder in folders):
            raise BadInput(
                f"--{flag} {path} is not for runs of a deployment: they read and write files in the project's and in "
                "the data folder, hidden ones excepted; put it there, or name its folder in HYBRID_ML_FILES"
            )
        if flag in WRITTEN_FILES:
            _refuse_overwriting(flag, path, real)


def _resolved(path: Path) -> Path | None:
    try:
        return path.resolve()
    except (OSError, RuntimeError, ValueError):  # a circle of links, a NUL
        return None


def _is_open(real: Path, folder: Path, data_dir: Path) -> bool:
    folder = folder.resolve()
    if not real.is_relative_to(folder):
        return False
    inner = real.relative_to(folder).parts
    hidden = any(part.startswith(".") for part in inner)
    return not hidden and not real.is_relative_to(data_dir.resolve() / OF_THE_DATABASE)


def _refuse_overwriting(flag: str, path: Path, real: Path) -> None:
    endings = WRITTEN_FILES[flag]
    if real.suffix.lower() not in endings:
        raise BadInput(f"--{flag} {path} must end in {' or '.join(endings)} in a run of a deployment")
    if real.is_file():
        with real.open("rb") as file:
            if file.read(len(PARQUET_BEGINS)) != PARQUET_BEGINS:
                raise BadInput(f"--{flag} {path} is there already and no Parquet file; choose another name")
