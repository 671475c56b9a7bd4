"""The benchmarks at their smallest: which there are, and what each has to print.

`python -m tests.benchmarks NAME…` runs several that import the same, each in a fork of one process.
"""

import json
import math
import os
import runpy
import sys
from collections.abc import Iterable
from pathlib import Path

BENCH = Path(__file__).resolve().parents[1] / "bench"
LONG = {"growth", "latency"}
"""They start `hybrid-ml up`, or a server with one worker after the other: minutes, whatever the size."""
BOOSTING_ROUNDS = 60
"""Of those that want a store: what they measure is not about the size of a model."""
SOURCES = {path.stem: path.read_text(encoding="utf-8") for path in sorted(BENCH.glob("*.py"))}
BENCHMARKS = [name for name, source in SOURCES.items() if 'if __name__ == "__main__"' in source]
WITH_STORE = [
    name for name in BENCHMARKS if ("TemporaryStore" in SOURCES[name] or name == "replay") and name not in LONG
]
"""`replay` needs no store, but starts processes, which would be a third of what the tests without servers cost."""
WITHOUT_STORE = [name for name in BENCHMARKS if name not in WITH_STORE and name not in LONG]


def run_smallest(name: str) -> None:
    """Run a benchmark in this process; `bench` must be on the path. A cross-check that fails is a SystemExit."""
    program = str(BENCH / f"{name}.py")
    sys.argv = [program, "--smallest", "--json"]
    runpy.run_path(program, run_name="__main__")


def check_document(text: str) -> None:
    """One JSON document, with at least one figure, all of them finite."""
    lines = json.loads(text)["lines"]
    assert lines
    assert [line["name"] for line in lines if not math.isfinite(line["value"])] == []


def run_in_forks(names: Iterable[str]) -> list[str]:
    """Run each; the names of those that failed. The output of each goes to NAME.json in the working folder."""
    import common  # noqa: F401  # once for all of them

    import flows.weekly_training  # noqa: F401
    from hybrid_ml.learning import training

    failed = []
    for name in names:
        child = os.fork()
        if child == 0:
            with Path(f"{name}.json").open("w") as output:
                os.dup2(output.fileno(), sys.stdout.fileno())
            if name != "replay":  # its other processes train as usual, and must give the same
                training.BOOSTING_ROUNDS = BOOSTING_ROUNDS
            run_smallest(name)
            sys.exit()
        if os.waitpid(child, 0)[1] != 0:
            failed.append(name)
    return failed


if __name__ == "__main__":
    sys.path.insert(0, str(BENCH))
    sys.exit(" ".join(run_in_forks(sys.argv[1:])) or None)
