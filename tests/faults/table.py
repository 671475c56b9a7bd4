"""The table of faults: what was done, what happened, how long until all was right again."""

from dataclasses import dataclass, field

import pytest


@dataclass
class FaultTable:
    """Rows in the order the tests ran; printed as a Markdown table at the end of the session."""

    rows: list[tuple[str, str, float]] = field(default_factory=list)

    def add(self, fault: str, happened: str, seconds: float) -> None:
        """`seconds`: what the next, or the same, run took until the state was that of an undisturbed one."""
        self.rows.append((fault, happened, seconds))

    def print(self, reporter: pytest.TerminalReporter) -> None:
        if not self.rows:
            return
        reporter.write_sep("=", "faults survived")
        reporter.write_line("| fault | what happened | seconds to recover |")
        reporter.write_line("|---|---|---|")
        for fault, happened, seconds in self.rows:
            reporter.write_line(f"| {fault} | {happened} | {seconds:.2f} |")
