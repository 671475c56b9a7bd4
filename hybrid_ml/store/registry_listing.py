"""The registry's content for display. Does not import LightGBM, so that the command is fast."""

from datetime import datetime
from difflib import get_close_matches
from typing import Any

from sqlalchemy import Connection, text

from hybrid_ml.errors import BadInput, ModelUnavailable
from hybrid_ml.schemas.registry_reports import ModelDetails, ModelEvent, ModelLine, ModelListing
from hybrid_ml.store.registry_events import events_of
from hybrid_ml.store.sql import query

ADAPTERS_SHOWN = 50
JUDGED = ("accuracy", "majority_accuracy", "log_loss", "prior_log_loss")
MEASURED = {"bytes_kept", "found_length", "found_sha256", "predictions", "adapters"}


def list_models(connection: Connection, symbol: str | None, now: datetime, *, adapters: bool) -> ModelListing:
    """The bases of `symbol` (None: of all), newest first, on demand with the newest ADAPTERS_SHOWN adapters.

    Raises BadInput, listing the symbols with models, for a symbol without models.
    """
    chosen = {"symbol": symbol, "adapters": ADAPTERS_SHOWN if adapters else 0}
    rows = connection.execute(query("list_models"), chosen).mappings().all()
    if not rows and symbol is not None:
        known = ", ".join(_symbols(connection)) or "none yet"
        raise BadInput(f"no models of {symbol} in the registry (symbols there: {known})")
    serving = {
        fromkey: serving_version(connection, fromkey, now) for fromkey in dict.fromkeys(row["symbol"] for row in rows)
    }
    return ModelListing(now=now, serving=serving, models=[_line(dict(row), serving) for row in rows])


def _line(row: dict[str, Any], serving: dict[str, str | None]) -> ModelLine:
    metrics = row.pop("metrics")
    # An adapter's metrics compare its few rows with its base's, another quantity under the same name.
    judged = {name: metrics.get(name) if row["kind"] != "adapter" else None for name in JUDGED}
    return ModelLine(**row, **judged, serves=serving[row["symbol"]] == row["version"])


def _symbols(connection: Connection) -> list[str]:
    return [
        str(scalar)
        for scalar in connection.execute(text("SELECT DISTINCT symbol FROM model_versions ORDER BY 1")).scalars()
    ]


def serving_version(connection: Connection, symbol: str, as_of: datetime) -> str | None:
    """The version in use for `symbol` at `as_of`, by the same rule as `model_registry.find_serving`."""
    base = connection.execute(query("serving_base"), {"symbol": symbol, "as_of": as_of}).one_or_none()
    if base is None:
        return None
    adapter = connection.execute(query("newest_adapter"), {"parent": base.version, "as_of": as_of}).one_or_none()
    return str(adapter.version if adapter is not None and adapter.status == "adopted" else base.version)


def describe_model(connection: Connection, version: str, now: datetime) -> ModelDetails:
    """Everything about `version`; raises ModelUnavailable, listing similar names, when it is not there."""
    row = connection.execute(query("describe_model"), {"version": version}).mappings().one_or_none()
    if row is None:
        raise unknown_version(connection, version)
    return ModelDetails(
        version=version,
        symbol=row["symbol"],
        serves=serving_version(connection, row["symbol"], now) == version,
        record={name: value for name, value in row.items() if name not in MEASURED},
        events=[ModelEvent(**event) for event in events_of(connection, version)],
        predictions=row["predictions"],
        adapters=row["adapters"],
        bytes_kept=row["bytes_kept"],
        bytes_problem=_bytes_problem(dict(row)),
    )


def _bytes_problem(row: dict[str, Any]) -> str | None:
    """The check that the bytes fail, in the words of `model_bytes.check_seal`."""
    if not row["bytes_kept"]:
        return None
    if row["found_length"] != row["length"]:
        return f"length check failed: {row['found_length']:,} bytes instead of {row['length']:,}"
    if row["found_sha256"] != row["sha256"]:
        return f"sha256 check failed: the bytes are not those of {row['sha256'][:12]}…"
    return None


def unknown_version(connection: Connection, version: str) -> ModelUnavailable:
    """The error for a version that is not in the registry, with similar names."""
    known = connection.execute(
        text("SELECT version FROM model_versions WHERE kind IN ('base', 'scratch') ORDER BY created_at DESC")
    ).scalars()
    near = get_close_matches(version, [str(known_name) for known_name in known])
    nearest = f"; similar names there: {', '.join(near)}" if near else ""
    return ModelUnavailable(f"no model {version} in the registry{nearest}; see `hybrid-ml models list`")
