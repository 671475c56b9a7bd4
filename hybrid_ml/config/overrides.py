"""What Prefect blocks put in the place of settings that the environment leaves open; the newest set is in force."""

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True)
class SettingOverride:
    """A value for one setting, as text, and where a person finds it: `block telegram-bot-token`."""

    value: str = field(repr=False)  # it may be secret
    origin: str


class _InForce:
    """Replaced as a whole, so that a thread never reads half of a set."""

    overrides: Mapping[str, SettingOverride] = {}


def set_overrides(overrides: Mapping[str, SettingOverride]) -> None:
    """Put these in force from now on, in this process, in the place of those before."""
    _InForce.overrides = dict(overrides)


def current_overrides() -> Mapping[str, SettingOverride]:
    """What is in force, by the setting's name."""
    return _InForce.overrides
