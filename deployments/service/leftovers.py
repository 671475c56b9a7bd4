"""Removing what killed processes leave: unused temporary folders, results of old runs."""

import fcntl
import os
import re
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path

import anyio

OURS = re.compile(r"hybrid-ml-(worker-|check-)?[a-z0-9_]{8}")
"""Folders of workers and checks. Without the middle word: their names before 0.2."""
TEMPORARY = Path(tempfile.gettempdir())
"""The system's folder, as it was before the worker got its own."""
LOCK = "lock"
UNUSED = timedelta(days=1)
"""A younger folder is kept: its process may not have locked it yet."""
RESULTS_KEPT = timedelta(days=30)
"""As long as the server keeps runs."""
DAY_SECONDS = 24 * 3_600


@contextmanager
def worker_folder() -> Iterator[Path]:
    """A temporary folder, locked while this process uses it, and removed afterwards."""
    with tempfile.TemporaryDirectory(prefix="hybrid-ml-worker-") as name, (Path(name) / LOCK).open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield Path(name)


def remove_leftovers(results: Path, now: datetime) -> list[Path]:
    """Remove our unused temporary folders, and files in `results` of runs that are gone.

    Returns what was removed. What cannot be removed is tried again the next time.
    """
    removed = []
    for folder in TEMPORARY.iterdir():
        if OURS.fullmatch(folder.name) and _is_unused(folder, now):
            shutil.rmtree(folder, ignore_errors=True)
            removed.append(folder)
    for file in results.iterdir() if results.is_dir() else ():
        with suppress(OSError):
            if file.is_file() and _age(file, now) > RESULTS_KEPT:
                file.unlink()
                removed.append(file)
    return removed


async def remove_leftovers_daily(results: Path) -> None:
    """Remove leftovers now and once a day."""
    while True:
        await anyio.to_thread.run_sync(remove_leftovers, results, datetime.now(UTC))
        await anyio.sleep(DAY_SECONDS)


def _is_unused(folder: Path, now: datetime) -> bool:
    """Whether `folder` is this user's, old enough and not locked."""
    try:
        state = folder.lstat()
        if folder.is_symlink() or not folder.is_dir() or state.st_uid != os.getuid() or _age(folder, now) < UNUSED:
            return False
        return not _is_locked(folder / LOCK)
    except OSError:
        return False  # it has just gone


def _age(path: Path, now: datetime) -> timedelta:
    return now - datetime.fromtimestamp(path.lstat().st_mtime, now.tzinfo)


def _is_locked(path: Path) -> bool:
    try:
        with path.open("r+") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except FileNotFoundError:
        return False
    except BlockingIOError:
        return True
    return False
