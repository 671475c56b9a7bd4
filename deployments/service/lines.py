"""Output lines of services; repeated lines are counted instead of printed."""

import re
from dataclasses import dataclass, field

WINDOW_SECONDS = 60.0
PRINTED_OF_A_KIND = 3
"""The number of lines that differ only in numbers which are printed in a window; further ones are counted."""
KINDS_AT_MOST = 2_000
VARYING = re.compile(rb"[0-9a-f]{8}-[0-9a-f-]{27}|0x[0-9a-f]+|\d+", re.IGNORECASE)


@dataclass
class _Window:
    """What one service printed since `began` (seconds of a monotonic clock)."""

    began: float
    kinds: dict[bytes, int] = field(default_factory=dict)
    withheld: int = 0


class RepeatedLines:
    """Passes the output of a service on, without repetitions: a full disk made one print 41,000 lines in minutes.

    Lines count as equal when they differ only in numbers and identifiers.
    """

    def __init__(self, window_seconds: float = WINDOW_SECONDS) -> None:
        self._window_seconds = window_seconds
        self._windows: dict[str, _Window] = {}

    def is_new(self, name: str, line: bytes, now: float) -> bool:
        """Whether the `line` of service `name` is to be printed; else it is counted. `now`: seconds."""
        window = self._windows.setdefault(name, _Window(now))
        kind = VARYING.sub(b"#", line)
        seen = window.kinds.get(kind, 0)
        if len(window.kinds) < KINDS_AT_MOST or kind in window.kinds:
            window.kinds[kind] = seen + 1
        if seen < PRINTED_OF_A_KIND:
            return True
        window.withheld += 1
        return False

    def summaries(self, now: float) -> list[tuple[str, str]]:
        """Process and line for each window that is over and withheld something. `now`: seconds."""
        over = {name: item for name, item in self._windows.items() if now - item.began >= self._window_seconds}
        for name in over:
            del self._windows[name]
        return [
            (name, f"… {window.withheld:,} more like this in {now - window.began:.0f} s")
            for name, window in over.items()
            if window.withheld
        ]
