"""Progress bars on a terminal; where the output is none, nothing, or a line in a log now and then."""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta

from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    Task,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.text import Text

from hybrid_ml.console.terminal import err

SECONDS_BETWEEN_LINES = 30.0


@dataclass
class ProgressLines:
    """How far work has come, and how long the rest will take at the same rate, as a line now and then.

    `began`: when it began, seconds of any clock.
    """

    description: str
    total: int
    began: float
    done: int = 0
    told: float | None = None

    def advance(self, amount: int, now: float) -> str | None:
        """So much more is done at `now`, seconds; a line where the last one is long enough ago, and some is left."""
        self.done += amount
        if now - (self.began if self.told is None else self.told) < SECONDS_BETWEEN_LINES or self.done >= self.total:
            return None
        self.told = now
        left = timedelta(seconds=round((now - self.began) / self.done * (self.total - self.done)))
        return f"{self.description}: {self.done:,} of {self.total:,}, about {left} left"


class Rate(ProgressColumn):
    """Units per second, once known."""

    def render(self, task: Task) -> Text:
        return Text(f"{task.speed:.1f}/s" if task.speed else "", style="progress.data.speed")


def _bar() -> Progress:
    columns = [
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        Rate(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    ]
    return Progress(*columns, console=err, disable=not err.is_terminal)


class SharedProgress:
    """One progress bar for the work of several threads, each of which adds what it has to do once it knows that."""

    def __init__(self, bar: Progress, description: str) -> None:
        self._bar, self._lock, self._total = bar, threading.Lock(), 0
        self._task = bar.add_task(description, total=None)

    def expect(self, amount: int) -> None:
        """Add to the total."""
        with self._lock:
            self._total += amount
            self._bar.update(self._task, total=self._total)

    def advance(self, amount: int) -> None:
        """So much more is done."""
        self._bar.advance(self._task, amount)


@contextmanager
def shared_progress(description: str) -> Iterator[SharedProgress]:
    """As `progress`, for several threads."""
    with _bar() as bar:
        yield SharedProgress(bar, description)


@contextmanager
def progress(
    description: str,
    total: int,
    write_line: Callable[[str], object] | None = None,
    clock: Callable[[], float] = time.monotonic,
) -> Iterator[Callable[[int], None]]:
    """A progress bar on a terminal's standard error; yields the function that advances it.

    Elsewhere `write_line` gets a line at most every SECONDS_BETWEEN_LINES by `clock`; without it there is nothing.
    """
    if write_line is None or err.is_terminal:
        with _bar() as bar:
            task = bar.add_task(description, total=total)
            yield lambda amount: bar.advance(task, amount)
        return
    lines = ProgressLines(description, total, clock())

    def advance(amount: int) -> None:
        line = lines.advance(amount, clock())
        if line:
            write_line(line)

    yield advance
