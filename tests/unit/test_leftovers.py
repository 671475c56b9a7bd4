"""Leftovers of killed workers are deleted at the next start, and nothing else."""

import os
import signal
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from deployments.service.leftovers import remove_leftovers
from tests.conftest import ROOT

NOW = datetime.now(UTC)
HOLDER = """
import time
from deployments.service.leftovers import worker_folder
with worker_folder() as folder:
    print(folder, flush=True)
    time.sleep(600)
"""


@pytest.fixture
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A separate temporary folder for the test."""
    monkeypatch.setattr("deployments.service.leftovers.TEMPORARY", tmp_path)
    return tmp_path


def make_older(path: Path, days: float) -> Path:
    moment = (NOW - timedelta(days=days)).timestamp()
    os.utime(path, (moment, moment))
    return path


def test_folder_of_a_killed_worker_is_deleted_and_of_a_running_one_kept(temporary: Path) -> None:
    holders = [
        subprocess.Popen(
            [sys.executable, "-c", HOLDER],
            cwd=ROOT,
            env={**os.environ, "TMPDIR": str(temporary)},
            stdout=subprocess.PIPE,
            text=True,
        )
        for _ in range(2)
    ]
    try:
        killed, living = [make_older(Path(holder.stdout.readline().strip()), days=400) for holder in holders]
        holders[0].send_signal(signal.SIGKILL)
        holders[0].wait()
        assert remove_leftovers(temporary / "results", NOW) == [killed]
        assert (killed.exists(), living.exists()) == (False, True)
    finally:
        for holder in holders:
            holder.kill()
            holder.wait()


def test_recent_and_unrelated_folders_are_kept(temporary: Path) -> None:
    kept_folders = [
        make_older(temporary / name, days)
        for name, days in {
            "hybrid-ml-worker-abcd1234": 0.5,
            "hybrid-ml-1000-0123456789ab": 400,  # sockets of the embedded PostgreSQL
            "hybrid-ml-tests-abcd1234": 400,
            "tmpabcd1234prefect": 400,
        }.items()
        if (temporary / name).mkdir() is None
    ]
    old = temporary / "hybrid-ml-check-abcd1234"
    old.mkdir()
    link = temporary / "hybrid-ml-worker-link1234"
    link.symlink_to(kept_folders[0])
    assert remove_leftovers(temporary / "results", NOW) == []
    make_older(old, 2)
    assert remove_leftovers(temporary / "results", NOW) == [old]
    assert all(folder.is_dir() for folder in kept_folders)
    assert link.is_symlink()


def test_old_results_are_deleted(temporary: Path) -> None:
    results = temporary / "results"
    results.mkdir()
    for name in ("old", "young"):
        (results / name).write_bytes(b"x")
    make_older(results / "old", 31)
    make_older(results / "young", 29)
    assert remove_leftovers(results, NOW) == [results / "old"]
    assert [file.name for file in results.iterdir()] == ["young"]
