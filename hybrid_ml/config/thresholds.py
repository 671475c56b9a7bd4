"""The bounds a run, the environment or the Prefect UI may state in place of a preset's: one definition for all."""

from collections.abc import Callable
from dataclasses import fields
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from hybrid_ml.signals.presets import Bounds

MinConfidence = Annotated[float, Field(ge=0, le=1)]
MinProbMargin = Annotated[float, Field(ge=0, le=1)]
MaxEntropy = Annotated[float, Field(ge=0, le=1.1)]
MaxSignals = Annotated[int, Field(ge=0, le=10_000)]
SignalsPerDay = Annotated[float, Field(ge=0.1, le=1_000)]

THRESHOLDS = tuple(item.name for item in fields(Bounds))
"""Their names, as in `Bounds`, which states their units."""


class Thresholds(BaseModel):
    """What may be stated outside a run: numbers as numbers, within their bounds, and nothing else."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    min_confidence: MinConfidence | None = None
    min_prob_margin: MinProbMargin | None = None
    max_entropy: MaxEntropy | None = None
    max_signals: MaxSignals | None = None
    signals_per_day: SignalsPerDay | None = None


def setting_of(threshold: str) -> str:
    """The setting that states `threshold` for runs which do not: max_entropy -> hybrid_ml_max_entropy."""
    return f"hybrid_ml_{threshold}"


def format_bounds(bounds: Bounds, origin: Callable[[str], str]) -> str:
    """`min_confidence 0.7 (variable …), …`: each bound in force, and who stated it; a pace only where there is one."""
    stated = {name: getattr(bounds, name) for name in THRESHOLDS}
    return ", ".join(f"{name} {value:g} ({origin(name)})" for name, value in stated.items() if value is not None)
