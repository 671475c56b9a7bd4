"""Whether the parts of the service are ready, not only whether their processes live; what stays silent is replaced."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from hybrid_ml.health.running_time import RunningTime

LOOK_SECONDS, ANSWER_SECONDS = 10.0, 5.0
RESTARTS = 3
"""After so many in vain a person is told, and the next ones come slowly."""
SLOW_SECONDS = 300.0


def answer_seconds(silence_seconds: float) -> float:
    """How long a part may take to answer one question, where it may be silent for `silence_seconds`."""
    return min(ANSWER_SECONDS, silence_seconds / 5)


class Part(Protocol):
    """Something that must be ready for the service to work."""

    name: str
    start_seconds: float
    """How long it may take from a start until it is ready."""

    @property
    def starts(self) -> int:
        """How often it was started, by whomever."""
        ...

    @property
    def is_alive(self) -> bool:
        """Whether its process lives; one that has ended is started again by whoever looks after it."""
        ...

    def problem(self) -> str | None:
        """Why it is not ready; empty when it is, None where that cannot be known now. Answers within seconds."""
        ...

    def replace(self) -> None:
        """End its process, so that another one takes its place."""
        ...

    def diagnosis(self, problem: str) -> str:
        """What is wrong and what a person can do, in one line."""
        ...


@dataclass
class _Course:
    """How it goes with a part. Times are running time."""

    starts: int
    starts_in_vain: int = 0
    silent_since: float | None = None
    patient_until: float = 0.0
    reported_problem: str = ""


class Readiness:
    """Looks at the parts in their order, each of which may need those before it.

    `tell(part, line)` is for the terminal; `report(part, problem)` for whoever tells people, at every look: what three
    restarts did not cure, empty where nothing is.
    """

    def __init__(
        self,
        parts: list[Part],
        silence_seconds: float,
        tell: Callable[[str, str], None],
        report: Callable[[str, str], None],
    ) -> None:
        self._parts, self._silence_seconds, self._tell, self._report = parts, silence_seconds, tell, report
        self._look_seconds = min(LOOK_SECONDS, silence_seconds / 10)
        self._time = RunningTime(self._look_seconds + answer_seconds(silence_seconds))
        self._next_look = 0.0
        self._courses = {part.name: _Course(part.starts, patient_until=part.start_seconds) for part in parts}

    def look(self) -> None:
        """Look at every part when it is time; else do nothing."""
        now = self._time.advance()
        if now < self._next_look:
            return
        trouble = False
        for part in self._parts:
            if trouble:  # what needs a part that is not ready cannot be judged
                self._courses[part.name].silent_since = None
                continue
            problem = part.problem()
            trouble = self._judge(part, self._courses[part.name], problem, self._time.advance())
        self._next_look = self._time.advance() + self._look_seconds
        for name, course in self._courses.items():
            self._report(name, course.reported_problem)

    def _judge(self, part: Part, course: _Course, problem: str | None, now: float) -> bool:
        """Do what is to be done about a part; returns whether it is known not to be ready."""
        if problem is None:
            course.silent_since = None
            return False
        if not problem:
            self._is_ready(part, course)
            return False
        self._count_starts(part, course, now)
        if course.silent_since is None:
            course.silent_since = now
        is_over_time = now >= course.patient_until and now - course.silent_since >= self._silence_seconds
        if course.starts_in_vain >= RESTARTS and not course.reported_problem and (is_over_time or not part.is_alive):
            course.reported_problem = part.diagnosis(problem)
            self._tell(part.name, f"{course.starts_in_vain} restarts in vain: {course.reported_problem}")
        if is_over_time and part.is_alive:
            self._tell(part.name, f"not ready for {now - course.silent_since:.0f} s ({problem}); it is replaced")
            part.replace()
            course.patient_until = now + (SLOW_SECONDS if course.reported_problem else part.start_seconds)
        return True

    def _is_ready(self, part: Part, course: _Course) -> None:
        if course.reported_problem:
            self._tell(part.name, "ready again")
        course.silent_since, course.patient_until, course.reported_problem = None, 0.0, ""
        course.starts, course.starts_in_vain = part.starts, 0

    def _count_starts(self, part: Part, course: _Course, now: float) -> None:
        """Each start since it was ready last, and the time it is given."""
        new = part.starts - course.starts
        if new:
            course.starts, course.starts_in_vain = part.starts, course.starts_in_vain + new
            course.patient_until = max(course.patient_until, now + part.start_seconds)
