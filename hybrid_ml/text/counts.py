"""Formatting of counts."""


def counted(number: float, one: str) -> str:
    """`1 row`, `2,000 rows`, `0 rows`, `0.1 minutes`. The plural of `one` must be made with an s."""
    text = f"{number:zg}" if isinstance(number, float) else f"{number:,}"
    return f"{text} {one if number == 1 else one + 's'}"
