"""The bounds of a run: its own, else those of the environment or a Prefect Variable, else of the preset."""

from typing import TypeVar

from hybrid_ml.config.settings import Settings
from hybrid_ml.config.thresholds import THRESHOLDS, format_bounds, setting_of
from hybrid_ml.schemas.requests import AnalysisRequest

AnyAnalysisRequest = TypeVar("AnyAnalysisRequest", bound=AnalysisRequest)


def fill_in_bounds(request: AnyAnalysisRequest, settings: Settings) -> tuple[AnyAnalysisRequest, str]:
    """The request with the bounds of `settings` where it states none, and the source of each bound as text."""
    stated = {name: getattr(settings, setting_of(name)) for name in THRESHOLDS if getattr(request, name) is None}
    stated = {name: value for name, value in stated.items() if value is not None}
    settled = request.model_copy(update=stated)

    def origin(name: str) -> str:
        if name in stated:
            return settings.origin(setting_of(name))
        return f"preset {request.preset}" if getattr(request, name) is None else "this run"

    return settled, format_bounds(settled.bounds, origin)
