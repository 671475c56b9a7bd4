"""What the program's host offers for settings that the environment leaves open; the newest offer stands."""

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Offer:
    """A value for one setting, as text, and where a person finds it: `block telegram-bot-token`."""

    value: str = field(repr=False)  # it may be secret
    origin: str


class _Host:
    """Replaced as a whole, so that a thread never reads half of an offer."""

    offers: Mapping[str, Offer] = {}


def offer(offers: Mapping[str, Offer]) -> None:
    """Offer these settings from now on, in this process; what was offered before and is not now, is withdrawn."""
    _Host.offers = dict(offers)


def offered() -> Mapping[str, Offer]:
    """What stands on offer, by the setting's name."""
    return _Host.offers
