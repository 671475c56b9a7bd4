"""Progress bars on a terminal; nothing where the output is none."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

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
def progress(description: str, total: int) -> Iterator[Callable[[int], None]]:
    """A progress bar on a terminal's standard error, nothing elsewhere; yields the function that advances it."""
    with _bar() as bar:
        task = bar.add_task(description, total=total)
        yield lambda amount: bar.advance(task, amount)
