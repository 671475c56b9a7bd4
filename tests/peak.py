"""Measures a process and its children: wall time, processor time and peak memory."""

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Usage:
    """A process that has ended. `peak_bytes`: the most memory that it, or one it started, held at once."""

    code: int
    stdout: str
    stderr: str
    seconds: float
    cpu_seconds: float
    peak_bytes: int


WAIT = """
import json, os, subprocess, sys
process = subprocess.Popen(sys.argv[2:])
_, status, usage = os.wait4(process.pid, 0)
with open(sys.argv[1], "w") as file:
    json.dump([os.waitstatus_to_exitcode(status), usage.ru_utime + usage.ru_stime, usage.ru_maxrss * 1024], file)
"""
"""A small process starts the measured one: a forked process inherits the peak memory of its parent."""


def run_measured(arguments: Sequence[str | Path], timeout_seconds: float = 300, cwd: Path | None = None) -> Usage:
    """Run a process to its end; after `timeout_seconds` it is killed and the test fails."""
    started = time.perf_counter()
    with tempfile.TemporaryDirectory(prefix="hybrid-ml-tests-") as folder:
        result_file = Path(folder) / "usage.json"
        command = [sys.executable, "-S", "-c", WAIT, result_file, *arguments]
        process = subprocess.Popen(
            command, cwd=cwd, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, errors="replace",
            start_new_session=True,
        )  # fmt: skip
        try:
            stdout, stderr = process.communicate(timeout=timeout_seconds)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            stdout, stderr = process.communicate()
            raise AssertionError(f"not over after {timeout_seconds:g} s: {stdout}{stderr}") from None
        code, cpu_seconds, peak_bytes = json.loads(result_file.read_text())
    return Usage(code, stdout, stderr, time.perf_counter() - started, cpu_seconds, peak_bytes)
