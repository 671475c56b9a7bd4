"""Formatting of percentages, moves and spans of time."""


def percent(share: float) -> str:
    """`0.42 %` of 0.0042: two decimals, more where the first digits of a small share come later."""
    value = abs(100 * share)
    if value >= 0.095:
        return f"{value:.2f} %"
    return f"{value:.3f} %" if value >= 0.0005 else "less than 0.001 %"


def moved(change: float) -> str:
    """`rose 0.42 %` of a relative change of 0.0042, `fell 0.42 %`, `did not move`."""
    return f"{'rose' if change > 0 else 'fell'} {percent(change)}" if change else "did not move"


def span(minutes: int) -> str:
    """`minute`, `15 minutes`, `hour`, `4 hours`; to be put after "the last"."""
    hours = round(minutes / 60)
    if abs(60 * hours - minutes) <= 1 and hours:  # a window of 479 bars is called eight hours
        return "hour" if hours == 1 else f"{hours} hours"
    return "minute" if minutes == 1 else f"{minutes} minutes"


def within(minutes: int) -> str:
    """`in a minute`, `in 15 minutes`, `in an hour`."""
    name = span(minutes)
    return f"in {'an' if name == 'hour' else 'a'} {name}" if name in ("hour", "minute") else f"in {name}"


def times(ratio: float) -> str:
    """`3.0 times`; from ten on without decimals, under one tenth with two."""
    return f"{ratio:.0f} times" if ratio >= 9.95 else f"{ratio:.1f} times" if ratio >= 0.095 else f"{ratio:.2f} times"
