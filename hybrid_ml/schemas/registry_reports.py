"""The results of the commands on the registry; few imports, so that they are fast."""

from datetime import datetime
from pathlib import Path
from typing import Any

from pydantic import BaseModel


class ModelLine(BaseModel):
    """A version in short. The metrics are those of its hold-out; an adapter has none."""

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
    """Versions, newest first; `serving`: the version in use for each symbol, None for none."""

    now: datetime
    serving: dict[str, str | None]
    models: list[ModelLine]


class ModelEvent(BaseModel):
    """An event of a version. `previous`: the champion before."""

    at: datetime
    event: str
    version: str
    previous: str | None
    reason: str


class ModelDetails(BaseModel):
    """Everything the registry knows about a version.

    `record`: its row without the bytes. `bytes_problem`: the check of length or sha256 that the
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
    """A change of champion by hand. `serving`: the version in use from the next analysis on."""

    symbol: str
    version: str
    previous: str | None
    serving: str
    path: Path


class Export(BaseModel):
    """A model in a file; `length` in bytes, of the model without the file's first line."""

    symbol: str
    version: str
    path: Path
    length: int
    sha256: str


class Import(BaseModel):
    """A model from such a file. `changed`: whether the registry did not have all of it already.

    `serving`: the version in use now, None for none. `champion`: whether the base is the champion.
    """

    symbol: str
    version: str
    base: str
    changed: bool
    champion: bool
    serving: str | None
