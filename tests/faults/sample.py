"""Chooses the faults of `make test`: a fixed sample of each kind; `make faults` runs all of them."""

from collections.abc import Iterable
from typing import Any

import pytest

matrix = pytest.mark.matrix
"""Marks a test that only `make faults` runs."""


def sample(values: Iterable[Any], *sampled: Any) -> list[Any]:
    """`values` to parametrize with; those not in `sampled` are run by `make faults` only. Raises ValueError for a
    sampled value that is not among `values`."""
    values = list(values)
    missing = [value for value in sampled if value not in values]
    if missing:
        raise ValueError(f"{missing} are not among {values}")
    return [value if value in sampled else _param(value) for value in values]


def _param(value: Any) -> Any:
    return pytest.param(*(value if isinstance(value, tuple) else (value,)), marks=matrix)
