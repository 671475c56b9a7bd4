"""Processes kept going: started again when they end, their lines printed, stopped in order."""

import ctypes
import os
import selectors
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import IO

from deployments.service.channel import VARIABLE, Channel
from deployments.service.lines import RepeatedLines
from hybrid_ml.pipeline.backoff import backoff_seconds

LONGEST_WAIT_SECONDS = 30.0
STEADY_SECONDS = 60.0
"""What ran as long as this begins again without waiting."""
TICK_SECONDS = 0.5
DIE_WITH_PARENT = 1
"""PR_SET_PDEATHSIG of prctl(2)."""


@dataclass
class SupervisedProcess:
    """One process: how it is started, and how long it may take to stop.

    `passed_descriptors`: which stay open for it; `has_channel`: it says that it is alive, and hears of the others
    (`service/channel.py`); `starts`: how often it was started; `failures`: ends
    in a row before it was steady.
    """

    name: str
    command: list[str]
    environment: dict[str, str]
    stop_seconds: float = 10.0
    passed_descriptors: tuple[int, ...] = ()
    has_channel: bool = False
    channel: Channel | None = None
    starts: int = 0
    process: subprocess.Popen[bytes] | None = None
    started_at: float = 0.0
    start_again_at: float | None = None
    failures: int = 0
    rest: bytes = b""

    def has_ended(self) -> bool:
        """Whether it was started and has ended."""
        return self.process is not None and self.process.poll() is not None


@dataclass
class Supervisor:
    """Services by the order they were started in. `tell` is given each line and the name of who said it."""

    tell: Callable[[str, str], None]
    services: list[SupervisedProcess] = field(default_factory=list)
    selector: selectors.BaseSelector = field(default_factory=selectors.DefaultSelector)
    repeated: RepeatedLines = field(default_factory=RepeatedLines)
    held: list[socket.socket] = field(default_factory=list)
    """What services inherit, open as long as they may be started again."""

    def start(self, service: SupervisedProcess) -> None:
        """Start `service` now, and again whenever it ends."""
        if service not in self.services:
            self.services.append(service)
        passed = _open_channel(service)
        service.process = subprocess.Popen(  # noqa: S603  # commands of our own
            service.command,
            env=service.environment | passed,
            pass_fds=[*service.passed_descriptors, *(int(number) for number in passed.values())],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,  # Ctrl-C is for this process, which stops them in order
            preexec_fn=_end_with_parent,  # noqa: PLW1509  # there is one thread
        )
        service.started_at, service.start_again_at = time.monotonic(), None
        service.starts += 1
        os.set_blocking(_output(service).fileno(), False)
        self.selector.register(_output(service), selectors.EVENT_READ, service)

    def watch(self, seconds: float = TICK_SECONDS) -> None:
        """Tell what the services say for `seconds` at most, and start again whichever has ended."""
        self.read(seconds)
        for service in self.services:
            self._look_after(service)
        for name, summary in self.repeated.summaries(time.monotonic()):
            self.tell(name, summary)

    def read(self, seconds: float) -> None:
        """Tell what the services say, waiting for `seconds` at most."""
        for key, _ in self.selector.select(seconds):
            self._read(key.data)

    def stop(self, hurry: Callable[[], bool]) -> None:
        """Stop the services, the last one first, telling what they say. `hurry`: whether to wait no longer."""
        for service in reversed(self.services):
            process = service.process
            if process is None or process.poll() is not None:
                continue
            process.terminate()
            end = time.monotonic() + service.stop_seconds
            while process.poll() is None and time.monotonic() < end and not hurry():
                self.read(TICK_SECONDS / 5)
            if process.poll() is None:
                _kill_group(process.pid)
                process.wait()
            self._read(service)
        self.services.clear()

    def _read(self, service: SupervisedProcess) -> None:
        """Tell the whole lines that have come in."""
        output = _output(service)
        try:
            text = output.read()
        except (BlockingIOError, ValueError):  # nothing there; or closed before
            return
        if text == b"" and service.process is not None and service.process.poll() is not None:
            self._close(service)
        *lines, service.rest = (service.rest + (text or b"")).split(b"\n")
        for line in lines:
            if self.repeated.is_new(service.name, line, time.monotonic()):
                self.tell(service.name, line.decode(errors="replace"))

    def _close(self, service: SupervisedProcess) -> None:
        output = _output(service)
        if not output.closed:
            self.selector.unregister(output)
            output.close()

    def _look_after(self, service: SupervisedProcess) -> None:
        process, now = service.process, time.monotonic()
        if process is None or process.poll() is None:
            return
        if service.start_again_at is None:
            self._read(service)
            self._close(service)
            if now - service.started_at >= STEADY_SECONDS:
                service.failures = 0
            self._wait(service, f"has ended ({format_exit(process.returncode)})")
        elif now >= service.start_again_at:
            try:
                self.start(service)
            except OSError as error:  # no memory, no process to be had: that passes
                self._wait(service, f"does not start ({error.strerror})")

    def _wait(self, service: SupervisedProcess, why: str) -> None:
        """Longer each time."""
        service.failures += 1
        wait_seconds = backoff_seconds(service.failures, LONGEST_WAIT_SECONDS)
        self.tell(service.name, f"{why}; it starts again in {wait_seconds:g} s")
        service.start_again_at = time.monotonic() + wait_seconds


def format_exit(returncode: int) -> str:
    """`exit code 1`, or `SIGKILL`."""
    return signal.Signals(-returncode).name if returncode < 0 else f"exit code {returncode}"


def _output(service: SupervisedProcess) -> IO[bytes]:
    if service.process is None or service.process.stdout is None:
        raise RuntimeError(f"{service.name} was never started")
    return service.process.stdout


def _open_channel(service: SupervisedProcess) -> dict[str, str]:
    """A new channel where the service has one; returns the variable that names its descriptor."""
    if not service.has_channel:
        return {}
    if service.channel is not None:
        service.channel.close()
    service.channel = Channel()
    return {VARIABLE: str(service.channel.theirs.fileno())}


def _kill_group(pid: int) -> None:
    """Whatever the process started goes with it."""
    with suppress(ProcessLookupError):  # it ended in between
        os.killpg(pid, signal.SIGKILL)


def _end_with_parent() -> None:
    """However this process ends, kill -9 included, its services stop, so that none is left to stand in the way."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(DIE_WITH_PARENT, signal.SIGTERM)
