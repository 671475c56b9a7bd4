"""How late a run may begin for its slot: a later one would have no use."""

from datetime import datetime, timedelta

from hybrid_ml.text.counts import counted

AHEAD, MINUTE = timedelta(seconds=15), timedelta(minutes=1)
ANALYSIS_MINUTES = 10
"""The ten minutes of its answers are over by then, and the next slot has begun."""
REVIEW_MINUTES = 24 * 60
"""The next review covers the same days."""
REPAIR_MINUTES = 60
"""The next one asks for the same minutes."""
BACKUP_MINUTES = 24 * 60
"""The next one contains the same data."""
TRAINING_MINUTES = 6 * 24 * 60
"""A training missed for hours or days is still useful once; after six days the next is a day away."""


def slot_of(scheduled: datetime, now: datetime) -> datetime:
    """The moment of a scheduled run: the whole minute that `scheduled` is up to AHEAD ahead of; else `now`.

    A run that is scheduled some seconds ahead of its slot is ready when the slot's bar is final. One that begins a
    minute after its slot, or has another schedule, is about the present.
    """
    ahead = timedelta(seconds=-(scheduled.second + scheduled.microsecond / 1e6) % 60)
    return scheduled + ahead if ahead <= AHEAD and now < scheduled + ahead + MINUTE else now


def newest_slot(now: datetime) -> datetime:
    """The last moment at which an analysis was due."""
    return now.replace(minute=now.minute - now.minute % ANALYSIS_MINUTES, second=0, microsecond=0)


def too_late(scheduled: datetime, now: datetime, worth_minutes: int) -> bool:
    """Whether it is too late to begin a slot of `scheduled` at `now`."""
    return now - scheduled >= timedelta(minutes=worth_minutes)


def format_lateness(scheduled: datetime, now: datetime) -> str:
    """The time of a slot, how late it is, and what happens instead; for a list of runs."""
    minutes = int((now - scheduled).total_seconds() // 60)
    days, hours = minutes // 1_440, minutes % 1_440 // 60
    late = counted(hours, "hour")
    if minutes < 120:
        late = counted(minutes, "minute")
    elif days:
        late = f"{counted(days, 'day')} {late}"
    return f"scheduled for {scheduled:%Y-%m-%d %H:%M} UTC, {late} late; the next slot of the schedule runs instead"
