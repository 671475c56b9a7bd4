"""What a flow, and the command that runs it, load before the first bar: memory and seconds that every run pays."""

import subprocess
import sys

import pytest

from tests.conftest import ROOT


@pytest.mark.parametrize("flow", ["backfill", "repair"])
def test_flows_of_bars_load_no_library_of_models(flow: str) -> None:
    heavy = {"lightgbm", "scipy", "sklearn", "river", "matplotlib"}
    program = f"import sys, hybrid_ml.cli.run_commands, flows.{flow}; print(sorted({heavy} & set(sys.modules)))"
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, timeout=300, check=False
    )
    assert done.stdout == "[]\n", done.stderr
