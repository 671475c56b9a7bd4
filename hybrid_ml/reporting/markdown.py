"""Pieces of Markdown that reports are made of."""

import re
from base64 import b64encode
from collections.abc import Iterable, Sequence
from math import isnan
from textwrap import wrap

WIDE = 44
"""Letters of the widest column of a table."""
MARKUP = re.compile(r"([\\`*_{}<>#|~$])")


def section(title: str, *parts: str) -> str:
    """A headline of the second order and what stands under it."""
    return "\n\n".join([f"## {title}", *parts])


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table; cells are Markdown."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def plain(words: str) -> str:
    """`words` so that no character of theirs is taken for markup."""
    return MARKUP.sub(r"\\\1", words)


def wrapped(words: str) -> str:
    """`words` as `plain`, broken into lines that a page of the Prefect UI does not clip beside narrow columns."""
    return "<br>".join(plain(line) for line in wrap(words, WIDE, break_long_words=False))


def share(value: float | None) -> str:
    """A share with three digits, or a dash."""
    return "–" if value is None else f"{value:.3f}"


def between(edges: Sequence[float], form: str) -> str:
    """An interval; NaN edges are those of a single day."""
    low, high = edges
    return "one day" if isnan(low) else f"{low:{form}} to {high:{form}}"


def inline(picture: bytes) -> str:
    """The address of a PNG that holds the PNG itself: the only kind of picture an artifact shows by itself."""
    return f"data:image/png;base64,{b64encode(picture).decode()}"
