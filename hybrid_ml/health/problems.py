"""The state of problems: updated by each check, reported once when they begin and once when they are over. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta


@dataclass(frozen=True)
class Problem:
    """Something wrong, and the remedy.

    `must_last_seconds`: it is reported only after so many seconds of the monitor's own running time. `is_ahead`: the
    text says when it begins, so that when it was noticed says nothing.
    """

    text: str
    remedy: str
    must_last_seconds: float = 0.0
    is_ahead: bool = False


CheckResult = Mapping[str, Problem | None]
"""By key the problem, or None where there is none. What could not be checked is missing, and does not change."""


@dataclass(frozen=True)
class OpenProblem:
    """A problem that was reported and is not over; `is_ahead` as in Problem."""

    key: str
    text: str
    remedy: str
    since: datetime
    is_ahead: bool = False

    @property
    def text_with_begin(self) -> str:
        return self.text if self.is_ahead else f"{self.text}, since {self.since:%Y-%m-%d %H:%M} UTC"


@dataclass(frozen=True)
class Report:
    """The begin of a problem, or, with `until`, its end."""

    problem: OpenProblem
    until: datetime | None = None

    @property
    def lasted(self) -> timedelta | None:
        return None if self.until is None else self.until - self.problem.since


@dataclass(frozen=True)
class _Waiting:
    """A problem that has not lasted long enough. `began`: running time, seconds."""

    since: datetime
    began: float


class Problems:
    """The open problems of one service, and those that have not lasted long enough."""

    def __init__(self, opened: list[OpenProblem] | None = None) -> None:
        self._open = {problem.key: problem for problem in opened or []}
        self._waiting: dict[str, _Waiting] = {}

    @property
    def opened(self) -> list[OpenProblem]:
        """In the order they began."""
        return sorted(self._open.values(), key=lambda item: item.since)

    def update(self, problems: CheckResult, now: datetime, running_seconds: float) -> list[Report]:
        """Update with the result of a check; returns the reports to send."""
        reports = [self._judge(key, problem, now, running_seconds) for key, problem in problems.items()]
        return [report for report in reports if report is not None]

    def _judge(self, key: str, problem: Problem | None, now: datetime, running_seconds: float) -> Report | None:
        if problem is None:
            self._waiting.pop(key, None)
            over = self._open.pop(key, None)
            return Report(over, now) if over else None
        if key in self._open:
            self._open[key] = replace(self._open[key], text=problem.text, remedy=problem.remedy)
            return None
        waiting = self._waiting.setdefault(key, _Waiting(now, running_seconds))
        if running_seconds - waiting.began < problem.must_last_seconds:
            return None
        del self._waiting[key]
        self._open[key] = OpenProblem(key, problem.text, problem.remedy, waiting.since, problem.is_ahead)
        return Report(self._open[key])


def problem_text(problem: OpenProblem) -> str:
    """One line: problem, begin, remedy."""
    return f"{problem.text_with_begin}; {problem.remedy}"


def report_text(report: Report) -> str:
    """The text of a report, on two lines at most."""
    problem = report.problem
    if report.lasted is not None:
        return f"✓ hybrid-ml: over after {format_duration(report.lasted)}: {problem.text}."
    remedy = f"{problem.remedy[:1].upper()}{problem.remedy[1:]}"
    return f"⚠ hybrid-ml: {problem.text_with_begin}.\n{remedy}."


def format_duration(lasted: timedelta) -> str:
    """`45 s`, `12 min`, `3 h 5 min`, `2 d 4 h`."""
    seconds = max(0, round(lasted.total_seconds()))
    minutes, hours = seconds // 60, seconds // 3_600
    if seconds < 120:
        return f"{seconds} s"
    if minutes < 120:
        return f"{minutes} min"
    return f"{hours} h {minutes % 60} min" if hours < 48 else f"{hours // 24} d {hours % 24} h"
