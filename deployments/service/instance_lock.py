"""Whether `hybrid-ml up` runs in this project, and where its server is. Imports little: every command needs it."""

import fcntl
import json
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from deployments.service.authentication import CLIENT_VARIABLE, read_authentication
from hybrid_ml.config.settings import load_settings
from hybrid_ml.errors import BadInput

FILE = "up.json"


def running() -> dict[str, Any] | None:
    """The description of a running `up` (pid, api_url, started_at); None when it does not run here."""
    path = _path()
    try:
        with path.open() as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return _read_description(path)
    except OSError:
        pass  # it never ran here
    return None


def _read_description(path: Path) -> dict[str, Any] | None:
    try:
        about: dict[str, Any] = json.loads(path.read_text())
    except ValueError:
        return None  # it is being written
    return about


@contextmanager
def mark_running(about: dict[str, Any]) -> Iterator[bool]:
    """Hold the lock for the block, or yield False where another `up` holds it. It is released with the process."""
    path = _path()
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        mark = path.open("a+")
    except OSError as error:
        raise BadInput(
            f"{path} cannot be written ({error.strerror}); choose another folder with HYBRID_ML_DATA_DIR"
        ) from None
    with mark as file:
        if not _take(file):
            yield False
            return
        file.truncate(0)
        file.write(json.dumps(about))
        file.flush()
        yield True
        file.truncate(0)


def _take(file: IO[str]) -> bool:
    """Take the lock. Tried more than once, since other commands hold it for a moment to check whether `up` runs."""
    for _ in range(5):
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            time.sleep(0.1)
        else:
            return True
    return False


def join_running_server() -> None:
    """Use the server that `up` started here where no other is named, with its authentication string.

    The string is used for the address of this server only.
    """
    about = running()
    if not about:
        return
    named = os.environ.get("PREFECT_API_URL")
    if named and named.rstrip("/") != about["api_url"]:
        return
    os.environ["PREFECT_API_URL"] = about["api_url"]
    kept = read_authentication(load_settings().data_dir) if about["own_server"] else None
    if kept and not os.environ.get(CLIENT_VARIABLE):
        os.environ[CLIENT_VARIABLE] = kept


def _path() -> Path:
    return load_settings().data_dir / FILE
