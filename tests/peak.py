"""What a process takes: its wall time, processor time and peak memory, those it waited for included."""

import os
import subprocess
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Taken:
    """A process that has ended. `peak_bytes`: the most memory that it, or one it started, held at once."""

    code: int
    stdout: str
    stderr: str
    seconds: float
    cpu_seconds: float
    peak_bytes: int


def run_measured(arguments: Sequence[str | Path], timeout_seconds: float = 300, cwd: Path | None = None) -> Taken:
    """Run a process to its end, or kill it after `timeout_seconds`; Linux and macOS count what it took."""
    started = time.perf_counter()
    process = subprocess.Popen(arguments, cwd=cwd, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    timer = threading.Timer(timeout_seconds, process.kill)
    timer.start()
    outputs: dict[str, bytes] = {}
    assert process.stdout is not None
    assert process.stderr is not None
    reader = threading.Thread(target=lambda: outputs.update(stderr=process.stderr.read()))
    reader.start()
    outputs["stdout"] = process.stdout.read()
    reader.join()
    _, status, usage = os.wait4(process.pid, 0)
    timer.cancel()
    process.returncode = os.waitstatus_to_exitcode(status)
    process.stdout.close()
    process.stderr.close()
    return Taken(
        code=process.returncode,
        stdout=outputs["stdout"].decode(errors="replace"),
        stderr=outputs["stderr"].decode(errors="replace"),
        seconds=time.perf_counter() - started,
        cpu_seconds=usage.ru_utime + usage.ru_stime,
        peak_bytes=usage.ru_maxrss * 1024,
    )
