"""Outputs that need no listener: who wrote to a terminal that was closed, or to a process that died, goes on."""

import io
import sys
from typing import Any


class BrokenPipeSafeFile(io.FileIO):
    """An output that takes whatever is written, and passes it on where it can."""

    def write(self, text: Any) -> int:
        """As many bytes as there were, heard or not."""
        try:
            return super().write(text) or 0
        except OSError:  # a broken pipe, a terminal that has gone, a full disk: no reason to stop working
            return len(text)


def ignore_broken_pipes() -> None:
    """From now on, what this process says is heard by whoever reads it, and nobody has to.

    Otherwise the next line would end it: rich, which writes Prefect's logs, ends a process at a broken pipe.
    An output that was closed at the start stays so: its descriptor may be that of something else by now.
    """
    sys.stdout = sys.stdout and _text_stream(1)
    sys.stderr = sys.stderr and _text_stream(2)


def _text_stream(descriptor: int) -> io.TextIOWrapper:
    raw = io.BufferedWriter(BrokenPipeSafeFile(descriptor, "w", closefd=False))
    return io.TextIOWrapper(raw, encoding="utf-8", errors="backslashreplace", line_buffering=True)
