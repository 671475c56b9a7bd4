"""The table of faults: what was done, what happened, how long until all was right again."""

from dataclasses import dataclass, field

import pytest

PROPERTY = "fault"


@dataclass
class FaultTable:
    """Rows in the order the tests are collected in; printed as a Markdown table at the end of the session.

    A row travels with its test's report, for the test may have run in another process than the one that prints.
    """

    rows: list[tuple[int, str, str, float]] = field(default_factory=list)

    def take(self, report: pytest.TestReport) -> None:
        """Take the rows of a test that has run."""
        if report.when == "call":
            self.rows.extend(tuple(value) for name, value in report.user_properties if name == PROPERTY)

    def print(self, reporter: pytest.TerminalReporter) -> None:
        if not self.rows:
            return
        reporter.write_sep("=", "faults survived")
        reporter.write_line("| fault | what happened | seconds to recover |")
        reporter.write_line("|---|---|---|")
        for _, fault, happened, seconds in sorted(self.rows, key=lambda row: row[0]):
            reporter.write_line(f"| {fault} | {happened} | {seconds:.2f} |")


TABLE = FaultTable()


@dataclass(frozen=True)
class FaultRows:
    """Where one test writes its rows."""

    test: pytest.Item

    def add(self, fault: str, happened: str, seconds: float) -> None:
        """`seconds`: what the next, or the same, run took until the state was that of an undisturbed one."""
        place = self.test.session.items.index(self.test)
        self.test.user_properties.append((PROPERTY, (place, fault, happened, seconds)))
