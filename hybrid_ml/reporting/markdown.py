"""Building blocks of Markdown for reports."""

import re
from base64 import b64encode
from collections.abc import Iterable, Sequence
from math import isnan
from textwrap import wrap

WIDE = 44
"""Letters of the widest column of a table."""
MARKUP = re.compile(r"([\\`*_{}<>#|~$])")


def section(title: str, *parts: str) -> str:
    """A heading of level two and its content."""
    return "\n\n".join([f"## {title}", *parts])


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table; cells are Markdown."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def plain(words: str) -> str:
    """`words` with all characters of markup escaped."""
    return MARKUP.sub(r"\\\1", words)


def wrapped(words: str) -> str:
    """`words` escaped, wrapped into lines that the Prefect UI does not clip beside narrow columns."""
    return "<br>".join(plain(line) for line in wrap(words, WIDE, break_long_words=False))


def share(value: float | None) -> str:
    """A share with three digits, or a dash."""
    return "–" if value is None else f"{value:.3f}"


def between(edges: Sequence[float], form: str) -> str:
    """An interval; NaN limits are those of a single day."""
    low, high = edges
    return "one day" if isnan(low) else f"{low:{form}} to {high:{form}}"


def inline(picture: bytes) -> str:
    """A data URL of a PNG: the only kind of picture that a page can contain itself."""
    return f"data:image/png;base64,{b64encode(picture).decode()}"
