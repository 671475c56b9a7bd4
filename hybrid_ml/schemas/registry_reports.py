"""What the commands on the registry found and did; light, see `model_catalogue`."""

from datetime import datetime
from pathlib import Path
from typing import Any

from pydantic import BaseModel


class ModelLine(BaseModel):
    """A version in short. The metrics are those of its hold-out; an adapter has none of its own."""

    symbol: str
    version: str
    kind: str
    parent: str | None
    as_of: datetime
    created_at: datetime
    rows: int
    accuracy: float | None
    majority_accuracy: float | None
    log_loss: float | None
    prior_log_loss: float | None
    status: str
    reason: str
    bytes_kept: bool
    serves: bool


class ModelListing(BaseModel):
    """Versions, newest first; `serving` has what answers for each symbol now, None for nothing."""

    now: datetime
    serving: dict[str, str | None]
    models: list[ModelLine]


class ModelEvent(BaseModel):
    """Something that happened to a version. `previous`: the champion before."""

    at: datetime
    event: str
    version: str
    previous: str | None
    reason: str


class ModelDetails(BaseModel):
    """Everything the registry knows about a version.

    `record`: its row but for the bytes. `bytes_problem`: the check of length or sha256 that the
    bytes fail, None where they pass or are pruned.
    """

    version: str
    symbol: str
    serves: bool
    record: dict[str, Any]
    events: list[ModelEvent]
    predictions: int
    adapters: int
    bytes_kept: bool
    bytes_problem: str | None


class Rollback(BaseModel):
    """A change of champion by hand. `serving`: what answers from the next analysis on."""

    symbol: str
    version: str
    previous: str | None
    serving: str
    path: Path


class Export(BaseModel):
    """A model in a file of its own; `length` in bytes, of the model without the file's first line."""

    symbol: str
    version: str
    path: Path
    length: int
    sha256: str


class Import(BaseModel):
    """A model from such a file. `changed`: whether the registry did not have all of it already.

    `serving`: what answers now, None for nothing. `champion`: whether the base is the champion.
    """

    symbol: str
    version: str
    base: str
    changed: bool
    champion: bool
    serving: str | None
