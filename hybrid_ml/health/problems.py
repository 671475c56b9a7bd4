"""What is wrong: found at each look, reported once when it begins and once when it is over. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta


@dataclass(frozen=True)
class Problem:
    """Something wrong, and what a person can do about it.

    `must_last`: it is none before it has lasted so many seconds of the monitor's own running time.
    """

    text: str
    remedy: str
    must_last_seconds: float = 0.0


Found = Mapping[str, Problem | None]
"""By its key what is wrong; None: that is well. What could not be looked at is missing, and stays as it was."""


@dataclass(frozen=True)
class OpenProblem:
    """A problem that was reported and is not over."""

    key: str
    text: str
    remedy: str
    since: datetime


@dataclass(frozen=True)
class Report:
    """That a problem began, or, with `until`, that it is over."""

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
    """The open problems of one service, and those that may become some."""

    def __init__(self, opened: list[OpenProblem] | None = None) -> None:
        self._open = {problem.key: problem for problem in opened or []}
        self._waiting: dict[str, _Waiting] = {}

    @property
    def opened(self) -> list[OpenProblem]:
        """In the order they began."""
        return sorted(self._open.values(), key=lambda item: item.since)

    def update(self, found: Found, now: datetime, running_seconds: float) -> list[Report]:
        """Take in what was found; returns what is to be reported."""
        reports = [self._judge(key, problem, now, running_seconds) for key, problem in found.items()]
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
        self._open[key] = OpenProblem(key, problem.text, problem.remedy, waiting.since)
        return Report(self._open[key])


def problem_text(problem: OpenProblem) -> str:
    """One line: what, since when, what to do."""
    return f"{problem.text}, since {problem.since:%Y-%m-%d %H:%M} UTC; {problem.remedy}"


def report_text(report: Report) -> str:
    """The words of a report, on two lines at most."""
    problem = report.problem
    if report.lasted is not None:
        return f"✓ hybrid-ml: over after {spoken(report.lasted)}: {problem.text}."
    remedy = f"{problem.remedy[:1].upper()}{problem.remedy[1:]}"
    return f"⚠ hybrid-ml: {problem.text}, since {problem.since:%Y-%m-%d %H:%M} UTC.\n{remedy}."


def spoken(lasted: timedelta) -> str:
    """`45 s`, `12 min`, `3 h 5 min`, `2 d 4 h`."""
    seconds = max(0, round(lasted.total_seconds()))
    minutes, hours = seconds // 60, seconds // 3_600
    if seconds < 120:
        return f"{seconds} s"
    if minutes < 120:
        return f"{minutes} min"
    return f"{hours} h {minutes % 60} min" if hours < 48 else f"{hours // 24} d {hours % 24} h"
