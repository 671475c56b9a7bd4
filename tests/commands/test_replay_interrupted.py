"""Ctrl-C during a replay: one line, and the same command then continues and gives the same result."""

import fcntl
import os
import signal
import subprocess
import sys
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pandas as pd
import pytest

from hybrid_ml.market.simulation import simulate_bars
from tests.conftest import ROOT, Command

START = datetime(2024, 2, 4, tzinfo=UTC)
WEEKS = 2


def arguments(folder: Path, name: str) -> list[str]:
    return [
        "replay", "--source", "csv", "--csv_path", str(folder / "bars.parquet"), "--symbol", "ABC",
        "--start", f"{START:%Y-%m-%d}", "--weeks", str(WEEKS), "--cycle_minutes", "1440", "--disable_sleep_window",
        "--work_path", str(folder / name), "--predictions_path", str(folder / f"{name}.parquet"),
    ]  # fmt: skip


def start(folder: Path, name: str, environment: dict[str, str]) -> subprocess.Popen:
    """Start the command in a new session, where SIGINT is not ignored."""
    return subprocess.Popen(
        [Path(sys.executable).with_name("hybrid-ml"), *arguments(folder, name)],
        cwd=ROOT,
        env=environment,
        start_new_session=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def wait_for(path: Path, process: subprocess.Popen, seconds: float = 900) -> None:
    end = time.monotonic() + seconds
    while not path.exists():
        assert process.poll() is None, process.stderr.read()
        assert time.monotonic() < end, f"{path} was not created"
        time.sleep(0.02)


@pytest.fixture
def environment(home: Path, prefect_api: str) -> dict[str, str]:
    simulate_bars(START + timedelta(weeks=WEEKS), bars=WEEKS * 10_080 + 4_000).to_parquet(home / "bars.parquet")
    return {**os.environ, "PREFECT_API_URL": prefect_api}


def test_ctrl_c_keeps_finished_weeks_and_same_command_continues(
    home: Path, environment: dict[str, str], command_here: Command
) -> None:
    uninterrupted = command_here(*arguments(home, "undisturbed"))
    assert uninterrupted.returncode == 0, uninterrupted.stderr

    stopped = start(home, "stopped", environment)
    wait_for(home / "stopped" / "week_000.json", stopped)
    stopped.send_signal(signal.SIGINT)
    _, text = stopped.communicate(timeout=180)
    assert stopped.returncode == 130, text
    assert "interrupted; finished weeks are kept, and the same command continues after them" in text
    assert "Traceback" not in text
    assert not (home / "stopped" / "week_001.json").exists(), "the second week was over before Ctrl-C came"
    assert not (home / "stopped.parquet").exists()
    first_week = (home / "stopped" / "week_000.json").stat().st_mtime_ns

    continued = start(home, "stopped", environment)
    _, text = continued.communicate(timeout=1800)
    assert continued.returncode == 0, text
    assert "continuing after week 0" in text
    assert (home / "stopped" / "week_000.json").stat().st_mtime_ns == first_week
    answers, expected = (pd.read_parquet(home / f"{name}.parquet") for name in ("stopped", "undisturbed"))
    assert len(expected) > 10
    pd.testing.assert_frame_equal(answers, expected)


def test_folder_of_a_running_replay_is_refused(home: Path, environment: dict[str, str], command_here: Command) -> None:
    folder = home / "taken"
    folder.mkdir()
    descriptor = os.open(folder, os.O_RDONLY)
    fcntl.flock(descriptor, fcntl.LOCK_EX)
    refused = command_here(*arguments(home, "taken"))
    os.close(descriptor)
    assert refused.returncode == 1
    words = " ".join(refused.stderr.split())
    assert f"--work_path {folder}: another replay uses it; run this one after it has ended" in words
    assert "Traceback" not in refused.stderr
    assert not list(folder.glob("week_*"))
