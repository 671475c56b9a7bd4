"""Output streams that survive a broken pipe: a process continues when its terminal or its reader has gone."""

import io
import sys
from typing import Any


class BrokenPipeSafeFile(io.FileIO):
    """An output stream that ignores errors of writing."""

    def write(self, text: Any) -> int:
        """The number of bytes, written or not."""
        try:
            return super().write(text) or 0
        except OSError:  # a broken pipe, a closed terminal, a full disk: no reason to stop
            return len(text)


def ignore_broken_pipes() -> None:
    """Let this process survive broken pipes of its output from now on.

    Otherwise the next line would end it: rich, which writes Prefect's logs, ends a process at a broken pipe.
    An output that was closed at the start stays closed, since its descriptor may be in use for something else.
    """
    sys.stdout = sys.stdout and _text_stream(1)
    sys.stderr = sys.stderr and _text_stream(2)


def _text_stream(descriptor: int) -> io.TextIOWrapper:
    raw = io.BufferedWriter(BrokenPipeSafeFile(descriptor, "w", closefd=False))
    return io.TextIOWrapper(raw, encoding="utf-8", errors="backslashreplace", line_buffering=True)
