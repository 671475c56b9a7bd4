"""What a flow loads before its first bar: memory and seconds that every run of it pays."""

import subprocess
import sys

import pytest

from tests.conftest import ROOT


@pytest.mark.parametrize("flow", ["backfill", "repair"])
def test_flows_of_bars_load_no_library_of_models(flow: str) -> None:
    program = f"import sys, flows.{flow}; print(sorted({{'lightgbm', 'scipy', 'sklearn', 'river'}} & set(sys.modules)))"
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, timeout=300, check=False
    )
    assert done.stdout == "[]\n", done.stderr
