"""The user's own sessions, from a CSV file with the columns opens_at, closes_at and perhaps date.

A row is a session; a day may have several. A row with a date and no times: closed on that day. `date` is that of the
session at its exchange; without it, the date on which it opens there.
"""

import csv
from datetime import UTC, date, datetime
from pathlib import Path
from zoneinfo import ZoneInfo

from hybrid_ml.errors import BadInput
from hybrid_ml.market.bars import EARLIEST, LATEST
from hybrid_ml.market.calendars import DayTimes
from hybrid_ml.market.sessions import make_sessions

NEEDED, DAY = ("opens_at", "closes_at"), "date"
LARGEST_BYTES = 10_000_000


def read_own_days(path: Path, calendar: str, zone: ZoneInfo | None) -> DayTimes:
    """Every day of the file with its sessions, UTC; none for a day that is stated to be closed.

    `zone`: of times without an offset. Raises BadInput naming the line of what cannot be used.
    """
    try:
        if path.stat().st_size > LARGEST_BYTES:
            raise BadInput(f"{path} has {path.stat().st_size:,} bytes, too many for a file of sessions")
        with path.open(encoding="utf-8-sig", newline="") as lines:
            days = _days(path, csv.DictReader(lines), zone)
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise BadInput(f"--csv_path {path} cannot be read as CSV ({error}); check the file") from None
    if not days:
        raise BadInput(f"--csv_path {path} has no row; a session is a row such as 2026-11-02T09:15+05:30,…T15:30+05:30")
    make_sessions(calendar, [times for sessions in days.values() for times in sessions])
    return days


def _days(path: Path, rows: "csv.DictReader[str]", zone: ZoneInfo | None) -> DayTimes:
    missing = [name for name in NEEDED if name not in (rows.fieldnames or [])]
    if missing:
        raise BadInput(f"--csv_path {path} lacks {' and '.join(missing)}; its header must be opens_at,closes_at[,date]")
    days, closed = dict[date, list[tuple[datetime, datetime]]](), dict[date, str]()
    for row in rows:
        place = f"{path} line {rows.line_num}"
        opens_text, closes_text, day_text = ((row.get(name) or "").strip() for name in (*NEEDED, DAY))
        if day_text and not (opens_text or closes_text):
            closed[_day(place, day_text)] = place
        elif opens_text or closes_text:
            opens_at, closes_at = (
                _time(place, name, text, zone) for name, text in zip(NEEDED, (opens_text, closes_text), strict=True)
            )
            if closes_at <= opens_at:
                raise BadInput(f"{place}: closes_at {closes_text} is not after opens_at {opens_text}; correct one")
            day = _day(place, day_text) if day_text else opens_at.date()
            days.setdefault(day, []).append((opens_at.astimezone(UTC), closes_at.astimezone(UTC)))
    for day, place in closed.items():
        if day in days:
            raise BadInput(f"{place}: {day} is stated as closed, and has a session in another row; remove one of them")
    return days | {day: [] for day in closed}


def _day(place: str, text: str) -> date:
    try:
        return date.fromisoformat(text)
    except ValueError:
        raise BadInput(f"{place}: date {text} is no date; write it like 2026-11-02") from None


def _time(place: str, name: str, text: str, zone: ZoneInfo | None) -> datetime:
    """A time with its zone. Raises BadInput where there is none, or the clocks of the zone are changed then."""
    try:
        time = datetime.fromisoformat(text)
    except ValueError:
        raise BadInput(f"{place}: {name} {text or 'is empty'} is no time; write it like 2026-11-02T09:15") from None
    if time.tzinfo is None:
        if zone is None:
            raise BadInput(
                f"{place}: {name} {text} states no offset; add one, such as {text}+05:30, or --timezone Asia/Kolkata"
            )
        time = time.replace(tzinfo=zone)
        other = time.replace(fold=1)
        if time.utcoffset() != other.utcoffset():
            raise BadInput(f"{place}: {name} {text} is a time at which {zone.key} changes its clocks; state its offset")
    if time.second or time.microsecond or not EARLIEST <= time.astimezone(UTC) < LATEST:
        raise BadInput(f"{place}: {name} {text} is not a whole minute between 1980 and 2200")
    return time
