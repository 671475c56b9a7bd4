"""Statistics of deliveries."""

from dataclasses import dataclass

LATE_AFTER_SECONDS = 60
"""An alert that takes longer is late: a tenth of its ten minutes are over."""


@dataclass(frozen=True)
class Deliveries:
    """Alerts of one kind to one chat in one state: how many, and of those sent how many late.

    `chat_id` is empty for the log. Seconds from the alert's creation until it was sent, None where none was.
    """

    kind: str
    chat_id: str
    state: str
    count: int
    late: int
    median_seconds: float | None
    longest_seconds: float | None
