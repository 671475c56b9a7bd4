"""How long to leave alone what has just failed."""


def backoff_seconds(failures: int, longest_seconds: float, first_seconds: float = 1.0) -> float:
    """The wait after so many `failures` in a row (at least one): twice the wait before, `longest_seconds` at most."""
    return min(longest_seconds, first_seconds * 2.0 ** min(failures - 1, 30))  # the power stays a float after years
