"""For how long nothing was heard of a run, in time during which whoever counts was awake and had answers."""

import time
from collections.abc import Hashable, Iterable, Mapping
from dataclasses import dataclass, field
from uuid import UUID

LONGEST_STEP_SECONDS = 20.0
"""Two looks further apart mean that the watcher, the server or the whole machine stood still in between."""


@dataclass(frozen=True)
class Moment:
    """Now, by both clocks, seconds: a suspended machine's monotonic clock stands still, its wall clock does not."""

    monotonic: float
    wall: float

    @classmethod
    def now(cls) -> "Moment":
        """What the clocks of this machine show."""
        return cls(time.monotonic(), time.time())

    def is_soon_after(self, earlier: "Moment") -> bool:
        """Whether no more than LONGEST_STEP_SECONDS lie between, by either clock."""
        steps = (self.monotonic - earlier.monotonic, self.wall - earlier.wall)
        return all(abs(seconds) <= LONGEST_STEP_SECONDS for seconds in steps)


@dataclass
class SilenceClock:
    """Counts anew for every run after a pause: what woke up with us must first have time for a sign of life."""

    last_look: Moment | None = None
    heard_at: dict[UUID, float] = field(default_factory=dict)
    signs: dict[UUID, frozenset[Hashable]] = field(default_factory=dict)

    def interrupt(self) -> None:
        """A look failed: until the next one nothing could have been heard."""
        self.last_look = None

    def look(self, now: Moment, signs: Mapping[UUID, Iterable[Hashable]]) -> dict[UUID, float]:
        """Seconds of silence of each run at `now`.

        `signs`: what is known of each run; whatever is new is a sign of life. Runs that are not
        among them any more are forgotten.
        """
        paused = self.last_look is None or not now.is_soon_after(self.last_look)
        known = {run_id: frozenset(found) for run_id, found in signs.items()}
        for run_id, found in known.items():
            if paused or run_id not in self.heard_at or found - self.signs[run_id]:
                self.heard_at[run_id] = now.monotonic
        self.heard_at = {run_id: self.heard_at[run_id] for run_id in known}
        self.signs, self.last_look = known, now
        return {run_id: now.monotonic - heard for run_id, heard in self.heard_at.items()}
