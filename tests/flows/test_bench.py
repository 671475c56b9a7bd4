"""Benchmarks that want PostgreSQL or Prefect, at their smallest; what they measure is not looked at."""

import os
import subprocess
import sys
from pathlib import Path

from tests.benchmarks import WITH_STORE, check_document
from tests.conftest import ROOT, WITHOUT_HEARTBEATS, WORK


def test_every_benchmark_with_a_database_runs_at_its_smallest(prefect_api: str, tmp_path: Path) -> None:
    """One after the other, as they share what costs most: imports, PostgreSQL and the Prefect server."""
    shared = {"BENCH_DATA_DIR": str(WORK), "BENCH_PREFECT_API_URL": prefect_api, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, "-m", "tests.benchmarks", *WITH_STORE],
        cwd=tmp_path,
        env={**os.environ, **shared, **WITHOUT_HEARTBEATS},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    for name in WITH_STORE:
        check_document((tmp_path / f"{name}.json").read_text())
