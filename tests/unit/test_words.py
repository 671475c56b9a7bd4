"""Formatting of counts and signed numbers."""

import re

import numpy as np
import pytest

from hybrid_ml.learning.comparison import Comparison
from hybrid_ml.reporting.markdown import between
from hybrid_ml.text.counts import counted
from tests.conftest import ROOT

PACKAGES = ("hybrid_ml", "flows", "tasks", "deployments")
SOURCES = [path for package in PACKAGES for path in sorted((ROOT / package).rglob("*.py"))]


@pytest.mark.parametrize(
    ("number", "words"),
    [
        (0, "0 rows"),
        (1, "1 row"),
        (2, "2 rows"),
        (23_000, "23,000 rows"),
        (np.int64(1), "1 row"),
        (np.int64(2_000), "2,000 rows"),
        (1.0, "1 row"),
        (0.1, "0.1 rows"),
        (-0.0, "0 rows"),
    ],
)
def test_count_of_one_has_no_plural(number: float, words: str) -> None:
    assert counted(number, "row") == words


def test_value_rounded_to_zero_has_no_minus_sign() -> None:
    assert str(Comparison(-0.00001, 0.0, 1)) == "gain +0.0000 nats, standard error 0.0000, 1 row"
    assert between([-0.04, 0.04], "+z.1f") == "+0.0 to +0.0"


def test_source_has_no_format_with_negative_zero() -> None:
    """`+.4f` writes -0.0000 where `+z.4f` writes +0.0000."""
    assert len(SOURCES) > 200
    signed = re.compile(r"""[:"']\+[\d,]*\.\d[f%eg]""")
    places = [f"{path.name}: {match[0]}" for path in SOURCES for match in signed.finditer(path.read_text("utf-8"))]
    assert places == []


def test_source_has_no_plurals_by_hand() -> None:
    """Plurals are formatted by `counted`."""
    by_hand = re.compile(r"""\{['"]s['"] (?:if|\*)""")
    assert [path.name for path in SOURCES if by_hand.search(path.read_text("utf-8"))] == []
