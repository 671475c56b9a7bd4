"""The registry of model versions. The database is the truth; local files are copies of it."""

import json
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any, Literal

from sqlalchemy import Connection, text

from hybrid_ml.errors import ModelUnavailable
from hybrid_ml.learning.model import Adapter, Base, HybridModel
from hybrid_ml.learning.model_bytes import Checksum, build, check_seal, pack_file, seal
from hybrid_ml.learning.promotion import Promotion
from hybrid_ml.store.registry_events import record_event
from hybrid_ml.store.sql import query

FAR_FUTURE = datetime(9999, 1, 1, tzinfo=UTC)
Insertion = Literal["new", "bytes", "nothing"]
"""A new row; a row whose pruned or damaged bytes were put back; or nothing that was not there."""


@dataclass(frozen=True)
class Part:
    """A row of the registry without its bytes. `file` seals the serving file of that version."""

    version: str
    part: Checksum
    file: Checksum


@dataclass(frozen=True)
class Serving:
    """Which parts serve a symbol at a moment; `adapter` is None when the base answers alone."""

    symbol: str
    base: Part
    adapter: Part | None
    is_champion: bool

    @property
    def file(self) -> Checksum:
        return (self.adapter or self.base).file

    @property
    def version(self) -> str:
        return (self.adapter or self.base).version


def find_serving(connection: Connection, symbol: str, as_of: datetime) -> Serving | None:
    """What serves `symbol` at `as_of`, never a model that has seen later bars; None when nothing can."""
    base = connection.execute(query("serving_base"), {"symbol": symbol, "as_of": as_of}).one_or_none()
    if base is None:
        return None
    adapter = connection.execute(query("newest_adapter"), {"parent": base.version, "as_of": as_of}).one_or_none()
    adopted = adapter is not None and adapter.status == "adopted"
    return Serving(symbol, _part(base), _part(adapter) if adopted else None, base.status == "champion")


def find_champion(connection: Connection, symbol: str) -> Serving | None:
    """The champion of `symbol`, whatever it has seen, without an adapter."""
    base = connection.execute(
        text(
            "SELECT version, sha256, length, file_sha256, file_length FROM model_versions "
            "WHERE symbol = :symbol AND status = 'champion' AND bytes IS NOT NULL"
        ),
        {"symbol": symbol},
    ).one_or_none()
    return None if base is None else Serving(symbol, _part(base), None, True)


def _part(row: Any) -> Part:
    return Part(row.version, Checksum(row.length, row.sha256), Checksum(row.file_length, row.file_sha256))


def fetch(connection: Connection, serving: Serving, base_data: bytes | None = None) -> HybridModel:
    """The serving model from the registry; raises ModelUnavailable when its base's bytes are damaged.

    With only the adapter damaged the base answers alone, which the version of what comes back tells.
    `base_data`: the base's bytes, checked, where they are at hand: they are megabytes.
    """
    base_data = base_data or _bytes(connection, serving.base)
    if serving.adapter is not None:
        with suppress(ModelUnavailable):
            return build(base_data, _bytes(connection, serving.adapter), serving.symbol)
    return build(base_data, None, serving.symbol)


def find_current(connection: Connection, symbol: str) -> Serving | None:
    """The champion with its newest trial, whatever they have seen: what the local file is a copy of."""
    champion = find_champion(connection, symbol)
    return None if champion is None else find_serving(connection, symbol, FAR_FUTURE)


def data_cutoff(connection: Connection, version: str) -> datetime | None:
    """The close of the newest bar that had a part in making `version`; None when it is not there."""
    statement = text("SELECT data_until FROM model_versions WHERE version = :version")
    found: datetime | None = connection.execute(statement, {"version": version}).scalar()
    return found


def trained_from(connection: Connection, symbol: str, as_of: datetime) -> datetime | None:
    """Where the training window of the base that serves `symbol` at `as_of` begins; None when nothing serves."""
    serving = find_serving(connection, symbol, as_of)
    if serving is None:
        return None
    statement = text("SELECT trained_from FROM model_versions WHERE version = :version")
    found: datetime | None = connection.execute(statement, {"version": serving.base.version}).scalar()
    return found


def _bytes(connection: Connection, part: Part) -> bytes:
    found = connection.execute(
        text("SELECT bytes FROM model_versions WHERE version = :version"), {"version": part.version}
    ).one_or_none()
    if found is None:
        raise ModelUnavailable(f"{part.version} is not in the registry any more")
    if found.bytes is None:
        raise ModelUnavailable(f"the bytes of {part.version} are pruned")
    data = bytes(found.bytes)
    check_seal(data, part.part)
    return data


def save_base(connection: Connection, model: HybridModel, decision: Promotion) -> None:
    """Record a base and, where decided, make it champion, in the caller's transaction.

    A base that is not promoted because it belongs to an earlier moment is retired at once; one that
    was worse is rejected.
    """
    base = model.base
    if decision.promoted:
        insert_base(connection, base, "candidate", decision.reason)
        promote(connection, base.symbol, base.version, decision.reason)
        return
    outcome: Literal["retired", "rejected"] = "retired" if decision.of_the_past else "rejected"
    is_new = insert_base(connection, base, outcome, decision.reason) == "new"
    if decision.of_the_past and not is_new:
        # Rejected or merely brought in before; it is wanted now for the moments that it may answer.
        statement = "UPDATE model_versions SET status = 'retired' WHERE version = :version AND status <> 'champion'"
        connection.execute(text(statement), {"version": base.version})
    if is_new:
        record_event(connection, base.symbol, outcome, base.version, reason=decision.reason)


def confirm(connection: Connection, model: HybridModel, decision: Promotion) -> Promotion:
    """`decision` as it can be carried out in the caller's transaction.

    A challenger that was judged against one champion does not replace another, made meanwhile by a
    run elsewhere or by hand: compare and swap.
    """
    base = model.base
    lock_registry(connection, base.symbol)
    champion = find_champion(connection, base.symbol)
    serving = None if champion is None else champion.version
    if not decision.promoted or serving in (decision.champion, base.version):
        return decision
    reason = f"the champion became {serving} while this one was judged against {decision.champion or 'none'}"
    return replace(decision, promoted=False, reason=reason)


def insert_base(connection: Connection, base: Base, status: str, reason: str) -> Insertion:
    """Record a base as it is; a version that is there keeps its status. Returns what was new about it."""
    row = {
        **_common(base, seal(pack_file(HybridModel(base)))),
        "kind": base.kind,
        "symbol": base.symbol,
        "parent": None,
        "row_limit": base.row_limit,
        "week": base.week,
        "feature_names": list(base.feature_names),
        "classes": list(base.classes),
        "label_threshold": base.label_threshold,
        "temperature": base.temperature,
        "parameters": json.dumps(base.parameters),
        "library_versions": json.dumps(base.library_versions),
        "status": status,
        "reason": reason,
    }
    return _insert(connection, row)


def _insert(connection: Connection, row: dict[str, Any]) -> Insertion:
    is_new = connection.execute(query("insert_version"), row).scalar()
    return "nothing" if is_new is None else "new" if is_new else "bytes"


def lock_registry(connection: Connection, symbol: str) -> None:
    """Whoever changes the champion of `symbol` takes turns, until the caller's transaction ends."""
    connection.execute(
        text("SELECT pg_advisory_xact_lock(hashtext('champion'), hashtext(:symbol))"), {"symbol": symbol}
    )


def promote(
    connection: Connection,
    symbol: str,
    version: str,
    reason: str,
    event: Literal["promoted", "rolled back"] = "promoted",
) -> str | None:
    """Make `version` the champion of `symbol`; the one before it retires, and is returned.

    Nothing happens when `version` is the champion already.
    """
    lock_registry(connection, symbol)
    champion = find_champion(connection, symbol)
    previous = None if champion is None else champion.version
    if previous == version:
        return previous
    if previous is not None:
        replaced = f"replaced by {version}"
        connection.execute(
            text("UPDATE model_versions SET status = 'retired', reason = :reason WHERE version = :version"),
            {"version": previous, "reason": replaced},
        )
        record_event(connection, symbol, "retired", previous, reason=replaced)
    connection.execute(query("promote"), {"version": version, "reason": reason})
    record_event(connection, symbol, event, version, previous=previous, reason=reason)
    return previous


def save_adapter(connection: Connection, base: Base, adapter: Adapter) -> Insertion:
    """Record a trial of an adapter to `base`, adopted or rejected; returns what was new about it."""
    return record_adapter(connection, base.symbol, adapter, seal(pack_file(HybridModel(base, adapter))))


def record_adapter(connection: Connection, symbol: str, adapter: Adapter, file: Checksum) -> Insertion:
    """The same where the base is not at hand; `file`: the seal of the serving file of both."""
    row = {
        **_common(adapter, file),
        "kind": "adapter",
        "symbol": symbol,
        "parent": adapter.parent,
        "row_limit": None,
        "week": None,
        "feature_names": None,
        "classes": None,
        "label_threshold": None,
        "temperature": None,
        "parameters": json.dumps({"step": adapter.step}),
        "library_versions": json.dumps({}),
        "status": "adopted" if adapter.leaf_values is not None else "rejected",
        "reason": "" if adapter.leaf_values is not None else "unseen rows spoke against the refit",
    }
    return _insert(connection, row)


def _common(part: Base | Adapter, file: Checksum) -> dict[str, Any]:
    own = seal(part.packed)
    return {
        "version": part.version,
        "as_of": part.as_of,
        "trained_from": part.trained_from,
        "trained_until": part.trained_until,
        "data_until": part.data_until,
        "rows": part.rows,
        "metrics": json.dumps(part.metrics),
        "bytes": part.packed,
        "sha256": own.sha256,
        "length": own.length,
        "file_sha256": file.sha256,
        "file_length": file.length,
    }


def first_base_at(connection: Connection, symbol: str) -> datetime | None:
    """The moment of the first base that was put into the registry, from which the weeks of `symbol` count.

    One made later for an earlier moment, to judge the past, does not move them.
    """
    statement = text(
        "SELECT as_of FROM model_versions WHERE symbol = :symbol AND kind IN ('base', 'scratch') "
        "ORDER BY created_at, as_of LIMIT 1"
    )
    found: datetime | None = connection.execute(statement, {"symbol": symbol}).scalar()
    return found


@dataclass(frozen=True)
class RetrainAttempts:
    """Trainings from scratch that a symbol had.

    `failed_attempts`: rejected ones since the base that serves was made; `newest`: the moment of the last one
    of any outcome, None when there never was one.
    """

    failed_attempts: int
    newest: datetime | None


def scratch_tries(connection: Connection, symbol: str, as_of: datetime) -> RetrainAttempts:
    """What trainings from scratch have come to for `symbol` by `as_of`."""
    return RetrainAttempts(*connection.execute(query("scratch_tries"), {"symbol": symbol, "as_of": as_of}).one())


def list_bases(connection: Connection, symbol: str) -> list[dict[str, Any]]:
    """Every base of `symbol` with its metrics, oldest first."""
    return [dict(row) for row in connection.execute(query("list_bases"), {"symbol": symbol}).mappings()]
