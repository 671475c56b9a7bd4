"""Checks of the metadata of a model from elsewhere, before the registry and its readers use it."""

from datetime import datetime
from typing import Any, Literal

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, FiniteFloat, ValidationError, field_validator

from hybrid_ml.config.leaders import MOST_LEADERS
from hybrid_ml.errors import ModelUnavailable, one_line
from hybrid_ml.learning.model import HybridModel
from hybrid_ml.learning.model_bytes import TIMES
from hybrid_ml.schemas.fields import Symbol

MOST = 2**31 - 1
"""The largest integer in the registry's columns."""


class _Made(BaseModel):
    model_config = ConfigDict(strict=True, from_attributes=True)

    as_of: AwareDatetime
    trained_from: AwareDatetime
    trained_until: AwareDatetime
    data_until: AwareDatetime
    rows: int = Field(ge=0, le=MOST)
    metrics: dict[str, Any]

    @field_validator("metrics")
    @classmethod
    def _judgements_are_numbers(cls, metrics: dict[str, Any]) -> dict[str, Any]:
        for name, value in metrics.items():
            if ("accuracy" in name or "log_loss" in name) and not isinstance(value, (int, float)):
                raise ValueError(f"{name} is no number")
        return metrics


class _Parameters(BaseModel):
    """The parameters of a base that fine-tuning reads."""

    model_config = ConfigDict(strict=True, extra="allow")

    learning_rate: FiniteFloat = Field(gt=0)
    lambda_l2: FiniteFloat = Field(ge=0)


class _Base(_Made):
    symbol: Symbol
    kind: Literal["base", "scratch"]
    label_threshold: FiniteFloat = Field(gt=0)
    class_prior: tuple[FiniteFloat, FiniteFloat, FiniteFloat]
    temperature: FiniteFloat = Field(gt=0)
    row_limit: int = Field(ge=0, le=MOST)
    week: int = Field(ge=0, le=MOST)
    leaders: tuple[Symbol, ...] = Field(max_length=MOST_LEADERS)
    flat_share: FiniteFloat = Field(gt=0, lt=1)
    parameters: _Parameters
    library_versions: dict[str, str]


class _Adapter(_Made):
    step: FiniteFloat


def check_particulars(model: HybridModel, now: datetime) -> None:
    """Raise ModelUnavailable, naming the field, unless all metadata of `model` are valid."""
    try:
        symbol = _Base.model_validate(model.base).symbol
        if model.adapter is not None:
            _Adapter.model_validate(model.adapter)
    except ValidationError as error:
        problem = error.errors()[0]
        text = problem["msg"].removeprefix("Value error, ")
        raise ModelUnavailable(
            f"format check failed: {one_line('.'.join(map(str, problem['loc'])))}: {one_line(text)}"
        ) from None
    if symbol != model.base.symbol:
        raise ModelUnavailable(f"format check failed: {one_line(repr(model.base.symbol))} cannot name a symbol")
    for part in (model.base, model.adapter):
        for name in TIMES if part is not None else ():
            moment = getattr(part, name)
            if moment > now:
                # As champion it would never be used, or be used without evaluation, and block every replacement.
                raise ModelUnavailable(f"time check failed: {name} is {moment:%Y-%m-%d %H:%M}, which is in the future")
