"""The two output streams for people; few imports, so that look-up commands are fast."""

import sys

from rich.console import Console

WIDTH_WITHOUT_TERMINAL = 110


def _console(*, stderr: bool) -> Console:
    """A console as wide as the terminal; wide enough for every table where there is none."""
    stream = sys.stderr if stderr else sys.stdout
    width = None if stream and stream.isatty() else WIDTH_WITHOUT_TERMINAL
    return Console(stderr=stderr, highlight=False, soft_wrap=True, width=width)


out = _console(stderr=False)
err = _console(stderr=True)
TICK, CROSS = "[green]✓[/green]", "[red]✗[/red]"
