"""Short hashes of bars, sessions and answers: they say whether something kept is still about the same."""

import hashlib
import json
from collections.abc import Iterable
from datetime import datetime, timedelta
from itertools import accumulate
from typing import Any

import pandas as pd

from hybrid_ml.learning.scaling import WEEK
from hybrid_ml.replay.history import Past

OUTCOMES_REACH = timedelta(hours=1)
"""A week's last outcomes depend on bars after it."""


def short_hash(data: bytes) -> str:
    """Sixteen hexadecimal digits."""
    return hashlib.sha256(data).hexdigest()[:16]


def fingerprint(rows: pd.DataFrame) -> str:
    """A short hash of exactly these rows."""
    return short_hash(pd.util.hash_pandas_object(rows, index=False).to_numpy().tobytes())


def manifest_fingerprint(manifest: dict[str, Any]) -> str:
    """A short hash of what a replay's answers depend on."""
    return short_hash(json.dumps(manifest, sort_keys=True).encode())


def week_fingerprints(past: Past, start: datetime, weeks: int, manifest: dict[str, Any]) -> list[str]:
    """For each week a short hash of everything that its answers and outcomes need: `manifest`, and all bars since."""
    own: Iterable[str] = (week_fingerprint(past, start + week * WEEK) for week in range(weeks))
    before = manifest_fingerprint(manifest)
    return list(accumulate(own, lambda one, other: short_hash(f"{one} {other}".encode()), initial=before))[1:]


def week_fingerprint(past: Past, begins: datetime) -> str:
    """A short hash of exactly the bars, the leaders' too, and the sessions of the week from `begins`."""
    ends = begins + WEEK + OUTCOMES_REACH
    parts = [fingerprint(past.bars_between(begins, ends)), *leaders_fingerprint(past, begins, ends).values()]
    parts += [] if past.sessions.is_always_open else [sessions_fingerprint(past, begins, ends)]
    return " ".join(parts)


def sessions_fingerprint(past: Past, begins: datetime, ends: datetime) -> str:
    """A short hash of when the market is open from `begins` until `ends`, or until the end of its calendar."""
    ranges = past.sessions.open_ranges(begins, min(ends, past.sessions.known_until or ends))
    return fingerprint(pd.DataFrame({"open": [f"{since} {until}" for since, until in ranges]}))


def leaders_fingerprint(past: Past, begins: datetime, ends: datetime) -> dict[str, str]:
    """A short hash for each symbol that may lead, of its bars that open from `begins` until before `ends`.

    How far back a run reads a leader depends on its moment, so bars before those of the symbol itself do not count.
    """
    span = pd.DatetimeIndex([begins, ends]).as_unit("us").asi8
    found = {}
    for leader, bars in past.leaders.items():
        first, last = bars.times.searchsorted(span)
        found[leader] = short_hash(bars.times[first:last].tobytes() + bars.returns[first:last].tobytes())
    return found
