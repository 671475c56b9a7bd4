"""How long a run has sent no heartbeat, not counting time in which this process or the server was suspended."""

import time
from collections.abc import Hashable, Iterable, Mapping
from dataclasses import dataclass, field
from uuid import UUID

LONGEST_STEP_SECONDS = 20.0
"""With more seconds between two checks, the watcher, the server or the whole machine was suspended in between."""


@dataclass(frozen=True)
class Moment:
    """A moment by both clocks, seconds: a suspended machine's monotonic clock stops, its wall clock does not."""

    monotonic: float
    wall: float

    @classmethod
    def now(cls) -> "Moment":
        """The clocks of this machine."""
        return cls(time.monotonic(), time.time())

    def is_soon_after(self, earlier: "Moment") -> bool:
        """Whether no more than LONGEST_STEP_SECONDS lie between, by either clock."""
        steps = (self.monotonic - earlier.monotonic, self.wall - earlier.wall)
        return all(abs(seconds) <= LONGEST_STEP_SECONDS for seconds in steps)


@dataclass
class SilenceClock:
    """Starts counting again for every run after a suspension, so that a run that resumes too can send a heartbeat."""

    last_check: Moment | None = None
    last_sign_at: dict[UUID, float] = field(default_factory=dict)
    signs: dict[UUID, frozenset[Hashable]] = field(default_factory=dict)

    def interrupt(self) -> None:
        """A check failed: until the next one no heartbeats were read."""
        self.last_check = None

    def update(self, now: Moment, signs: Mapping[UUID, Iterable[Hashable]]) -> dict[UUID, float]:
        """Seconds without a heartbeat of each run at `now`.

        `signs`: state and heartbeats of each run; a new one resets its time. Runs that are not
        among them any more are removed.
        """
        paused = self.last_check is None or not now.is_soon_after(self.last_check)
        known = {run_id: frozenset(run_signs) for run_id, run_signs in signs.items()}
        for run_id, run_signs in known.items():
            if paused or run_id not in self.last_sign_at or run_signs - self.signs[run_id]:
                self.last_sign_at[run_id] = now.monotonic
        self.last_sign_at = {run_id: self.last_sign_at[run_id] for run_id in known}
        self.signs, self.last_check = known, now
        return {run_id: now.monotonic - last_sign for run_id, last_sign in self.last_sign_at.items()}
