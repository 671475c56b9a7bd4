"""Reports copy fields of the same name from their sources."""

from dataclasses import dataclass

import pytest

from hybrid_ml.pipeline.reports import take_over


@dataclass(frozen=True)
class Source:
    name: str
    count: int


@dataclass(frozen=True)
class Target:
    name: str
    count: int = 0
    note: str = ""


def test_field_is_copied_from_the_first_source_unless_set() -> None:
    assert take_over(Target, Source("a", 1), Target("b", 2, "from b")) == Target("a", 1, "from b")
    assert take_over(Target, Source("a", 1), count=3, note="stated") == Target("a", 3, "stated")


def test_field_missing_in_all_sources_is_an_error() -> None:
    with pytest.raises(AttributeError, match="note"):
        take_over(Target, Source("a", 1))
