"""`hybrid-ml up` stops without leftovers, and starts again on what is there."""

import os
import pty
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil

from tests.ports import free_port
from tests.up import PROGRAM, ROOT, environment_of, make_accessible, start_up

SECRET = "somebody:something"
STOP_SECONDS = 180.0


def test_up_stops_without_leftovers_by_interrupts_and_by_a_closed_terminal(tmp_path: Path) -> None:
    folder, port = make_accessible(tmp_path), free_port()
    first = start_up(folder, port, PREFECT_SERVER_API_AUTH_STRING=SECRET)
    assert first.authentication == SECRET, "the user's own string is used, and saved for commands in other shells"
    text = first.command("status")
    assert "analysis" in text.stdout, text.stderr
    assert SECRET not in first.log.read_text() + text.stdout + text.stderr
    with nothing_left_of(first.process, folder):
        first.process.send_signal(signal.SIGINT)
        first.process.send_signal(signal.SIGINT)  # a second interrupt has no effect
    start_again_and_close_the_terminal(folder, port)


def start_again_and_close_the_terminal(folder: Path, port: int) -> None:
    terminal, terminal_end = pty.openpty()
    process = subprocess.Popen(
        [PROGRAM, "up", "--port", str(port)],
        cwd=ROOT,
        env=environment_of(folder, PREFECT_SERVER_API_AUTH_STRING=SECRET),
        stdin=terminal_end,
        stdout=terminal_end,
        stderr=terminal_end,
        start_new_session=True,
        preexec_fn=_accept_hangup,  # noqa: PLW1509  # there is one thread
    )
    os.close(terminal_end)
    try:
        text = b""
        while b"Ctrl-C stops" not in text:
            text += os.read(terminal, 4096)
        assert b"Traceback" not in text
        with nothing_left_of(process, folder):
            os.close(terminal)
            process.send_signal(signal.SIGHUP)
    finally:
        process.kill()


@contextmanager
def nothing_left_of(process: subprocess.Popen, folder: Path) -> Iterator[None]:
    """What the block does ends `process` with success, all processes below it, and its PostgreSQL in `folder`."""
    children = psutil.Process(process.pid).children(recursive=True)
    yield
    assert process.wait(STOP_SECONDS) == 0
    assert not [child for child in children if child.is_running() and child.status() != psutil.STATUS_ZOMBIE]
    assert not list((folder / "data" / "postgres").glob("postmaster.pid"))


def _accept_hangup() -> None:
    """The tests may run under nohup, whose children ignore SIGHUP."""
    signal.signal(signal.SIGHUP, signal.SIG_DFL)
