"""Benchmarks at their smallest, cross-checks included; what they measure is not looked at.

Those that want PostgreSQL are in tests/flows/test_bench.py.
"""

import logging
import sys

import pytest

from tests.benchmarks import BENCH, LONG, SOURCES, WITHOUT_STORE, check_document, run_smallest


@pytest.mark.parametrize("name", WITHOUT_STORE)
def test_a_benchmark_runs_at_its_smallest(
    name: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
) -> None:
    """In this process: importing is most of what the smallest sizes cost."""
    caplog.set_level(logging.ERROR, logger="hybrid_ml")  # benchmarks set it for good, this is undone
    monkeypatch.syspath_prepend(BENCH)
    monkeypatch.setattr(sys, "argv", [])
    run_smallest(name)
    check_document(capsys.readouterr().out)


@pytest.mark.parametrize("name", sorted(LONG))
def test_a_benchmark_that_no_test_runs_has_smallest_sizes_too(name: str) -> None:
    assert "smallest=" in SOURCES[name]
