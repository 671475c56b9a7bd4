"""Start: how long `hybrid-ml --help` takes to answer.

Measured: wall time of the whole process, from its start to its end. Floors: an interpreter that
does nothing, and one that only imports pandas, which any command that reads bars cannot do without.
How to read it: "above an empty interpreter" is the program's own share. The runs take turns.
"""

import subprocess
import sys
from functools import partial
from pathlib import Path

from common import Report, cross_check, interleaved, options

TARGET_SECONDS = 0.5
PROGRAM = Path(sys.executable).with_name("hybrid-ml")


def main() -> None:
    parser = options(__doc__, smallest={"repetitions": 1})
    parser.add_argument("--repetitions", type=int, default=10)
    chosen = parser.parse_args()
    commands = {
        "hybrid-ml --help": [str(PROGRAM), "--help"],
        "python -c pass": [sys.executable, "-c", "pass"],
        "python -c 'import pandas'": [sys.executable, "-c", "import pandas"],
    }

    def answer(command: list[str]) -> str:
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout

    help_text = answer(commands["hybrid-ml --help"])  # also compiles what was never run before
    cross_check(all(name in help_text for name in ("train", "analyze", "backfill")), "--help names the commands")
    median = interleaved({name: partial(answer, command) for name, command in commands.items()}, chosen.repetitions)
    report = Report(f"start: median of {chosen.repetitions} runs")
    help_seconds, empty, pandas = median.values()
    report.add("hybrid-ml --help", help_seconds, "s", TARGET_SECONDS)
    report.add("python -c pass", empty, "s")
    report.add("python -c 'import pandas'", pandas, "s")
    report.add("above an empty interpreter", help_seconds - empty, "s")
    report.add("ratio to importing pandas", help_seconds / pandas, "x")
    report.show(as_json=chosen.json)


if __name__ == "__main__":
    main()
