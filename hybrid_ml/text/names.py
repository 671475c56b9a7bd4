"""Names that somebody may have meant."""

from collections.abc import Iterable
from difflib import get_close_matches


def nearest_names(name: str, known: Iterable[str]) -> list[str]:
    """Those of `known` that are most like `name`, whatever the capitals, the most similar first."""
    by_capitals = {other.upper(): other for other in known}
    return [by_capitals[near] for near in get_close_matches(name.upper(), by_capitals)]
