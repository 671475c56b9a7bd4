"""A terminal for a program under test, which can be closed."""

import os
import pty
import signal
import subprocess
import threading
from pathlib import Path
from select import select
from typing import Any


class Terminal:
    """A pseudo terminal on which one program is started; its output is copied to a file until it is closed."""

    def __init__(self) -> None:
        self._outside, self._inside = pty.openpty()
        self._closing = threading.Event()
        self._copying = threading.Thread(daemon=True)

    def start(self, command: list[str], log: Path, **options: Any) -> subprocess.Popen:
        """Start `command` on it, in a session of its own."""
        ends = {"stdin": self._inside, "stdout": self._inside, "stderr": self._inside}
        process = subprocess.Popen(
            command,
            **ends,
            **options,
            start_new_session=True,
            preexec_fn=_accept_hangup,  # noqa: PLW1509  # runs before exec, and takes no lock
        )
        os.close(self._inside)
        self._copying = threading.Thread(target=self._copy, args=(log,), daemon=True)
        self._copying.start()
        return process

    def _copy(self, log: Path) -> None:
        with log.open("ab", buffering=0) as file:
            while not self._closing.is_set():
                if select([self._outside], [], [], 0.3)[0]:
                    try:
                        file.write(os.read(self._outside, 65_536))
                    except OSError:  # no program is left on it
                        return

    def close(self) -> None:
        """Close it, as a person closes the window: what the program prints from now on fails."""
        self._closing.set()
        self._copying.join()
        os.close(self._outside)


def _accept_hangup() -> None:
    """The tests may run under nohup, whose children ignore SIGHUP."""
    signal.signal(signal.SIGHUP, signal.SIG_DFL)
