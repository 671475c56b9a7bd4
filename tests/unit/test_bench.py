"""Benchmarks that check themselves, at their smallest; what they measure is not looked at."""

import json
import subprocess
import sys

from tests.conftest import ROOT


def test_a_whole_training_and_bare_lightgbm_learn_from_the_same_rows() -> None:
    command = [sys.executable, "training.py", "--rows", "2000", "--threads", "1", "--repetitions", "1", "--json"]
    done = subprocess.run(command, cwd=ROOT / "bench", capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    assert report["benchmark"] == "training: 2,000 rows, 50 features, 1 thread"
    assert len(report["lines"]) == 4
