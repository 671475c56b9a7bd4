"""Output files: checked to be writable before long work begins, and written completely or not at all."""

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pandas as pd

from hybrid_ml.errors import BadInput


def refuse_unwritable_file(path: Path, flag: str) -> None:
    """Raise BadInput naming `flag` unless a file can be made at `path`; leaves nothing behind."""
    with errors_as_bad_input(path, flag):
        if path.is_dir():
            raise IsADirectoryError(0, "it is a folder")
        _try_folder(path.parent)


def refuse_unwritable_folder(path: Path, flag: str) -> None:
    """Make the folder `path`; raise BadInput naming `flag` unless files can be made in it."""
    with errors_as_bad_input(path, flag):
        path.mkdir(parents=True, exist_ok=True)
        _try_folder(path)


def write_parquet(frame: pd.DataFrame, path: Path, flag: str) -> None:
    """Replace `path` by `frame` in one step: a file beside it, then a rename. Raises BadInput naming `flag`."""
    with (
        errors_as_bad_input(path, flag),
        tempfile.TemporaryDirectory(dir=path.parent, prefix=f".{path.name}.") as beside,
    ):
        whole = Path(beside) / path.name
        frame.to_parquet(whole)
        whole.replace(path)


@contextmanager
def errors_as_bad_input(path: Path, flag: str) -> Iterator[None]:
    """Translate errors of the operating system into BadInput with the flag, the path and the remedy."""
    try:
        yield
    except OSError as error:
        raise BadInput(f"{flag} {path} cannot be written ({error.strerror}); choose another") from None


def _try_folder(folder: Path) -> None:
    with tempfile.TemporaryFile(dir=folder):
        pass
