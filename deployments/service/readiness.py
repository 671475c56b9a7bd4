"""Checks whether the parts of the service are ready, not only alive; those that are not are replaced."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from hybrid_ml.health.running_time import RunningTime

CHECK_SECONDS, ANSWER_SECONDS = 10.0, 5.0
RESTARTS = 3
"""After this number of restarts without success a person is informed, and further ones are slower."""
SLOW_SECONDS = 300.0


def answer_seconds(silence_seconds: float) -> float:
    """The timeout of one check of a part that may be unready for `silence_seconds`."""
    return min(ANSWER_SECONDS, silence_seconds / 5)


class Part(Protocol):
    """A process that must be ready for the service to work."""

    name: str
    start_seconds: float
    """How long a start may take until it is ready."""

    @property
    def starts(self) -> int:
        """How often it was started."""
        ...

    @property
    def is_alive(self) -> bool:
        """Whether its process lives; the supervisor restarts one that has ended."""
        ...

    def problem(self) -> str | None:
        """Why it is not ready; empty when it is, None where that cannot be determined now. Returns within seconds."""
        ...

    def replace(self) -> None:
        """End its process, so that a new one is started."""
        ...

    def diagnosis(self, problem: str) -> str:
        """What is wrong and the remedy, in one line."""
        ...


@dataclass
class _PartHistory:
    """The history of a part. Times are running time."""

    starts: int
    failed_starts: int = 0
    unready_since: float | None = None
    start_deadline: float = 0.0
    reported_problem: str = ""


class Readiness:
    """Checks the parts in their order; each may need those before it.

    `tell(part, line)` prints on the terminal; `report(part, problem)` is for the monitor, at every check: the problem
    that three restarts did not solve, empty where there is none.
    """

    def __init__(
        self,
        parts: list[Part],
        silence_seconds: float,
        tell: Callable[[str, str], None],
        report: Callable[[str, str], None],
    ) -> None:
        self._parts, self._silence_seconds, self._tell, self._report = parts, silence_seconds, tell, report
        self._check_seconds = min(CHECK_SECONDS, silence_seconds / 10)
        self._time = RunningTime(self._check_seconds + answer_seconds(silence_seconds))
        self._next_check = 0.0
        self._histories = {part.name: _PartHistory(part.starts, start_deadline=part.start_seconds) for part in parts}

    def check(self) -> None:
        """Check every part when it is time; else do nothing."""
        now = self._time.advance()
        if now < self._next_check:
            return
        trouble = False
        for part in self._parts:
            if trouble:  # a part that needs one that is not ready cannot be judged
                self._histories[part.name].unready_since = None
                continue
            problem = part.problem()
            trouble = self._judge(part, self._histories[part.name], problem, self._time.advance())
        self._next_check = self._time.advance() + self._check_seconds
        for name, history in self._histories.items():
            self._report(name, history.reported_problem)

    def _judge(self, part: Part, history: _PartHistory, problem: str | None, now: float) -> bool:
        """Handle the problem of a part; returns whether the part is known not to be ready."""
        if problem is None:
            history.unready_since = None
            return False
        if not problem:
            self._is_ready(part, history)
            return False
        self._count_starts(part, history, now)
        if history.unready_since is None:
            history.unready_since = now
        is_over_time = now >= history.start_deadline and now - history.unready_since >= self._silence_seconds
        if history.failed_starts >= RESTARTS and not history.reported_problem and (is_over_time or not part.is_alive):
            history.reported_problem = part.diagnosis(problem)
            self._tell(part.name, f"{history.failed_starts} restarts without success: {history.reported_problem}")
        if is_over_time and part.is_alive:
            self._tell(part.name, f"not ready for {now - history.unready_since:.0f} s ({problem}); it is replaced")
            part.replace()
            history.start_deadline = now + (SLOW_SECONDS if history.reported_problem else part.start_seconds)
        return True

    def _is_ready(self, part: Part, history: _PartHistory) -> None:
        if history.reported_problem:
            self._tell(part.name, "ready again")
        history.unready_since, history.start_deadline, history.reported_problem = None, 0.0, ""
        history.starts, history.failed_starts = part.starts, 0

    def _count_starts(self, part: Part, history: _PartHistory, now: float) -> None:
        """Count the starts since it was ready last, and extend its time."""
        new = part.starts - history.starts
        if new:
            history.starts, history.failed_starts = part.starts, history.failed_starts + new
            history.start_deadline = max(history.start_deadline, now + part.start_seconds)
