"""Quiet hours: a window of local time in which no alert leaves."""

from dataclasses import dataclass
from datetime import datetime, time
from zoneinfo import ZoneInfo


@dataclass(frozen=True)
class QuietHours:
    """From `start` (included) to `end` (not included), local time of `zone`; may reach over midnight."""

    start: time = time(1)
    end: time = time(9)
    zone: str = "Asia/Kolkata"

    def covers(self, now: datetime) -> bool:
        """Whether `now` (with a time zone) falls into the window."""
        local = now.astimezone(ZoneInfo(self.zone)).time()
        if self.start <= self.end:
            return self.start <= local < self.end
        return local >= self.start or local < self.end

    def __str__(self) -> str:
        return f"{self.start:%H:%M}-{self.end:%H:%M} {self.zone}"
