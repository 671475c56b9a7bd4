"""How long a slot of the schedule is worth beginning: a run that begins later has nothing to give."""

from datetime import datetime, timedelta

from hybrid_ml.text.counts import counted

ANALYSIS_MINUTES = 10
"""What it foretells is over by then, and the next slot has begun."""
REVIEW_MINUTES = 24 * 60
"""The next review looks back on the same days."""
BACKUP_MINUTES = 24 * 60
"""The next one holds all of it."""
TRAINING_MINUTES = 6 * 24 * 60
"""A training missed for hours or days is still worth doing once; after six days the next is a day away."""


def too_late(scheduled: datetime, now: datetime, worth_minutes: int) -> bool:
    """Whether a slot of `scheduled` is no longer worth beginning at `now`."""
    return now - scheduled >= timedelta(minutes=worth_minutes)


def format_lateness(scheduled: datetime, now: datetime) -> str:
    """When a slot was, how late it is, and what happens instead; for a list of runs."""
    minutes = int((now - scheduled).total_seconds() // 60)
    days, hours = minutes // 1_440, minutes % 1_440 // 60
    late = counted(hours, "hour")
    if minutes < 120:
        late = counted(minutes, "minute")
    elif days:
        late = f"{counted(days, 'day')} {late}"
    return f"scheduled for {scheduled:%Y-%m-%d %H:%M} UTC, {late} late; the next slot of the schedule runs instead"
