"""Quiet hours: a window of local time without alerts."""

import difflib
import re
from dataclasses import dataclass
from datetime import UTC, datetime, time, timedelta
from zoneinfo import ZoneInfo, available_timezones

WINDOW = re.compile(r"([01][0-9]|2[0-3]):([0-5][0-9])-([01][0-9]|2[0-3]):([0-5][0-9])")
ZONE = re.compile(r"[A-Za-z0-9_+-]+(/[A-Za-z0-9_+-]+)*")
"""A name, never a path outside the folder of zones."""
DEFAULT_WINDOW, DEFAULT_ZONE = "01:00-09:00", "Asia/Kolkata"
MINUTE = timedelta(minutes=1)
LONGEST = timedelta(days=3)
"""Longer than any window: one may fill all but a minute of a day, and a clock change may skip that minute."""


@dataclass(frozen=True)
class QuietHours:
    """From `start` (included) to `end` (not included), local time of `zone`; may reach over midnight.

    Local time decides: an hour that is skipped when the clock changes is never quiet, an hour
    that occurs twice is quiet twice.
    """

    start: time
    end: time
    zone: str

    @classmethod
    def parse(cls, window: str, zone: str) -> "QuietHours":
        """From `HH:MM-HH:MM` and the IANA name of a time zone.

        Raises ValueError with the value and the remedy for a window that is invalid or empty, or a zone
        that does not exist.
        """
        match = WINDOW.fullmatch(window.strip())
        if match is None:
            raise ValueError(
                f"--sleep_window {window!r} is no window; write it HH:MM-HH:MM, 00:00 to 23:59, like {DEFAULT_WINDOW}"
            )
        hours = [int(part) for part in match.groups()]
        quiet = cls(time(hours[0], hours[1]), time(hours[2], hours[3]), _known_zone(zone))
        if quiet.start == quiet.end:
            raise ValueError(
                f"--sleep_window {window!r} is empty; choose an end after its beginning, or no quiet hours at all "
                "with --disable_sleep_window"
            )
        return quiet

    def covers(self, now: datetime) -> bool:
        """Whether `now` (with a time zone) falls into the window."""
        local = now.astimezone(ZoneInfo(self.zone)).time()
        if self.start <= self.end:
            return self.start <= local < self.end
        return local >= self.start or local < self.end

    def begin_after(self, now: datetime, within: timedelta) -> datetime | None:
        """The first quiet moment from `now` on, UTC: `now` itself, or the minute when the quiet hours begin.

        None where they do not begin until `within` from now.
        """
        return self._first(now, within, quiet=True)

    def end_after(self, now: datetime) -> datetime:
        """The first moment from `now` on that is not quiet, UTC: `now` itself, or the minute when they end."""
        ends = self._first(now, LONGEST, quiet=False)
        if ends is None:
            raise ValueError(f"quiet hours {self} do not end within {LONGEST.days} days of {now:%Y-%m-%d %H:%M}")
        return ends

    def _first(self, now: datetime, within: timedelta, *, quiet: bool) -> datetime | None:
        """The first moment until `within` from `now` that is quiet or not.

        Tried minute by minute, which handles every change of the clock.
        """
        moment, last = now.astimezone(UTC), now.astimezone(UTC) + within
        while moment <= last:
            if self.covers(moment) is quiet:
                return moment
            moment = moment.replace(second=0, microsecond=0) + MINUTE
        return None

    def __str__(self) -> str:
        return f"{self.start:%H:%M}-{self.end:%H:%M} {self.zone}"


def _known_zone(zone: str) -> str:
    """The name of an existing zone; raises ValueError naming similar ones."""
    name = zone.strip()
    try:
        if ZONE.fullmatch(name):
            return ZoneInfo(name).key
    except (OSError, ValueError, KeyError):
        pass  # a folder, a file that is no zone, or nothing; the error is raised below
    known = {available_timezone.lower(): available_timezone for available_timezone in available_timezones()}
    places = {known_name.rpartition("/")[2]: known_name for known_name in known}
    sought = name.lower()
    alike = [sought] if sought in known else difflib.get_close_matches(sought, known, n=3)
    alike += [places[get_close_match] for get_close_match in difflib.get_close_matches(sought, places, n=1, cutoff=0.8)]
    names = " or ".join(dict.fromkeys(known[similar] for similar in alike))
    message = f"did you mean {names}?" if names else "give an IANA name like Europe/Berlin"
    raise ValueError(f"--sleep_timezone {zone!r} is no time zone; {message}")
