"""A flow process, and outputs that it survives: `python -m deployments.warm.engine` is `python -m prefect.engine`.

The worker reads what a flow process says. When the worker dies, Prefect's own would die of its next line (rich,
which writes the log, ends the process at a broken pipe), in the middle of its work.
"""

import io
import runpy
import sys
import warnings
from typing import Any


class Unheard(io.FileIO):
    """An output that goes on when nobody reads it any more."""

    def write(self, said: Any) -> int:
        """As many bytes as there were, heard or not."""
        try:
            return super().write(said) or 0
        except BrokenPipeError:
            return len(said)


def speak_to_whoever_listens() -> None:
    """From now on, what this process says is heard by whoever reads it, and nobody has to."""
    sys.stdout, sys.stderr = _text_stream(1), _text_stream(2)


def _text_stream(descriptor: int) -> io.TextIOWrapper:
    raw = io.BufferedWriter(Unheard(descriptor, "w", closefd=False))
    return io.TextIOWrapper(raw, encoding="utf-8", errors="backslashreplace", line_buffering=True)


def run_engine() -> None:
    """What `python -m prefect.engine` does."""
    sys.argv = ["prefect.engine"]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # that it may be loaded already is what the template is for
        runpy.run_module("prefect.engine", run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    speak_to_whoever_listens()
    run_engine()
