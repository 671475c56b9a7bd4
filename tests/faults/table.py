"""The table of faults: the fault, what happened, the seconds to recover."""

from dataclasses import dataclass, field

import pytest

PROPERTY = "fault"


@dataclass
class FaultTable:
    """Rows in the order the tests are collected in; printed as a Markdown table at the end of the session.

    A row is part of its test's report, because the test may run in another process than the one that prints.
    """

    rows: list[tuple[int, str, str, float]] = field(default_factory=list)

    def add_report(self, report: pytest.TestReport) -> None:
        """Add the rows of a test that has run."""
        if report.when == "call":
            self.rows.extend(tuple(value) for name, value in report.user_properties if name == PROPERTY)

    def print(self, reporter: pytest.TerminalReporter) -> None:
        if not self.rows:
            return
        reporter.write_sep("=", "faults survived")
        reporter.write_line("| fault | what happened | seconds to recover |")
        reporter.write_line("|---|---|---|")
        for _, fault, result, seconds in sorted(self.rows, key=lambda row: row[0]):
            reporter.write_line(f"| {fault} | {result} | {seconds:.2f} |")


TABLE = FaultTable()


@dataclass(frozen=True)
class FaultRows:
    """Adds the rows of one test."""

    test: pytest.Item

    def add(self, fault: str, result: str, seconds: float) -> None:
        """`seconds`: how long the next run, or the same one, took to reach the state of a run without faults."""
        position = self.test.session.items.index(self.test)
        self.test.user_properties.append((PROPERTY, (position, fault, result, seconds)))
