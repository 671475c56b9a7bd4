"""The registry of model versions. The database is authoritative; local files are copies."""

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
"""A new row; a row whose pruned or damaged bytes were restored; or no change."""


@dataclass(frozen=True)
class StoredVersion:
    """A row of the registry without its bytes. `file`: checksum of the serving file of that version."""

    version: str
    part: Checksum
    file: Checksum


@dataclass(frozen=True)
class Serving:
    """The base and adapter in use for a symbol at a moment; `adapter` is None when the base is used alone."""

    symbol: str
    base: StoredVersion
    adapter: StoredVersion | None
    is_champion: bool

    @property
    def file(self) -> Checksum:
        return (self.adapter or self.base).file

    @property
    def version(self) -> str:
        return (self.adapter or self.base).version


def find_serving(connection: Connection, symbol: str, as_of: datetime) -> Serving | None:
    """The model in use for `symbol` at `as_of`, never one that has seen later bars; None when there is none."""
    base = connection.execute(query("serving_base"), {"symbol": symbol, "as_of": as_of}).one_or_none()
    if base is None:
        return None
    adapter = connection.execute(query("newest_adapter"), {"parent": base.version, "as_of": as_of}).one_or_none()
    adopted = adapter is not None and adapter.status == "adopted"
    return Serving(
        symbol, _stored_version(base), _stored_version(adapter) if adopted else None, base.status == "champion"
    )


def find_champion(connection: Connection, symbol: str) -> Serving | None:
    """The champion of `symbol`, whatever bars it has seen, without an adapter."""
    base = connection.execute(
        text(
            "SELECT version, sha256, length, file_sha256, file_length FROM model_versions "
            "WHERE symbol = :symbol AND status = 'champion' AND bytes IS NOT NULL"
        ),
        {"symbol": symbol},
    ).one_or_none()
    return None if base is None else Serving(symbol, _stored_version(base), None, True)


def _stored_version(row: Any) -> StoredVersion:
    return StoredVersion(row.version, Checksum(row.length, row.sha256), Checksum(row.file_length, row.file_sha256))


def fetch(connection: Connection, serving: Serving, base_data: bytes | None = None) -> HybridModel:
    """The model of `serving` from the registry; raises ModelUnavailable when its base's bytes are damaged.

    Where only the adapter is damaged, the base is returned alone, with the base's version.
    `base_data`: the base's bytes, checked, where the caller has them already: they are megabytes.
    """
    base_data = base_data or _bytes(connection, serving.base)
    if serving.adapter is not None:
        with suppress(ModelUnavailable):
            return build(base_data, _bytes(connection, serving.adapter), serving.symbol)
    return build(base_data, None, serving.symbol)


def leaders(connection: Connection, symbols: list[str]) -> dict[str, tuple[str, ...]]:
    """The leaders of the champion of each of `symbols` whose champion has any."""
    statement = text(
        "SELECT symbol, leaders FROM model_versions "
        "WHERE status = 'champion' AND symbol = ANY(:symbols) AND cardinality(leaders) > 0"
    )
    return {row.symbol: tuple(row.leaders) for row in connection.execute(statement, {"symbols": symbols})}


def find_current(connection: Connection, symbol: str) -> Serving | None:
    """The champion with its newest trial, whatever bars they have seen; the local file is a copy of this."""
    champion = find_champion(connection, symbol)
    return None if champion is None else find_serving(connection, symbol, FAR_FUTURE)


def data_cutoff(connection: Connection, version: str) -> datetime | None:
    """The close of the newest bar used to make `version`; None when the version is not in the registry."""
    statement = text("SELECT data_until FROM model_versions WHERE version = :version")
    result: datetime | None = connection.execute(statement, {"version": version}).scalar()
    return result


def trained_from(connection: Connection, symbol: str, as_of: datetime) -> datetime | None:
    """The begin of the training window of the base in use for `symbol` at `as_of`; None when there is none."""
    serving = find_serving(connection, symbol, as_of)
    if serving is None:
        return None
    statement = text("SELECT trained_from FROM model_versions WHERE version = :version")
    result: datetime | None = connection.execute(statement, {"version": serving.base.version}).scalar()
    return result


def _bytes(connection: Connection, part: StoredVersion) -> bytes:
    row = connection.execute(
        text("SELECT bytes FROM model_versions WHERE version = :version"), {"version": part.version}
    ).one_or_none()
    if row is None:
        raise ModelUnavailable(f"{part.version} is not in the registry any more")
    if row.bytes is None:
        raise ModelUnavailable(f"the bytes of {part.version} are pruned")
    data = bytes(row.bytes)
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
        # Rejected or only imported before; now it is needed for the moments that it may answer.
        statement = "UPDATE model_versions SET status = 'retired' WHERE version = :version AND status <> 'champion'"
        connection.execute(text(statement), {"version": base.version})
    if is_new:
        record_event(connection, base.symbol, outcome, base.version, reason=decision.reason)


def confirm(connection: Connection, model: HybridModel, decision: Promotion) -> Promotion:
    """`decision` as far as it still holds in the caller's transaction.

    A challenger that was judged against one champion does not replace another that was promoted meanwhile, by a
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
    """Record a base; an existing version keeps its status. Returns what has changed."""
    row = {
        **_common(base, seal(pack_file(HybridModel(base)))),
        "kind": base.kind,
        "symbol": base.symbol,
        "parent": None,
        "row_limit": base.row_limit,
        "week": base.week,
        "leaders": list(base.leaders),
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
    """Let one transaction at a time change the champion of `symbol`; the lock ends with the caller's transaction."""
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
    """Make `version` the champion of `symbol`; the previous one is retired, and its version returned.

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
    """Record a trial of an adapter to `base`, adopted or rejected; returns what has changed."""
    return record_adapter(connection, base.symbol, adapter, seal(pack_file(HybridModel(base, adapter))))


def record_adapter(connection: Connection, symbol: str, adapter: Adapter, file: Checksum) -> Insertion:
    """The same without the base's bytes; `file`: the checksum of the serving file of both."""
    row = {
        **_common(adapter, file),
        "kind": "adapter",
        "symbol": symbol,
        "parent": adapter.parent,
        "row_limit": None,
        "week": None,
        "leaders": None,
        "feature_names": None,
        "classes": None,
        "label_threshold": None,
        "temperature": None,
        "parameters": json.dumps({"step": adapter.step}),
        "library_versions": json.dumps({}),
        "status": "adopted" if adapter.leaf_values is not None else "rejected",
        "reason": "" if adapter.leaf_values is not None else "the refit was not better on unseen rows",
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
    """The moment of the first base put into the registry, from which the weeks of `symbol` are counted.

    A base made later for an earlier moment, to evaluate the past, does not change it.
    """
    statement = text(
        "SELECT as_of FROM model_versions WHERE symbol = :symbol AND kind IN ('base', 'scratch') "
        "ORDER BY created_at, as_of LIMIT 1"
    )
    result: datetime | None = connection.execute(statement, {"symbol": symbol}).scalar()
    return result


@dataclass(frozen=True)
class RetrainAttempts:
    """A symbol's trainings from scratch.

    `failed_attempts`: rejected ones since the base in use was made; `newest`: the moment of the last one
    of any outcome, None when there was none.
    """

    failed_attempts: int
    newest: datetime | None


def retrain_attempts(connection: Connection, symbol: str, as_of: datetime) -> RetrainAttempts:
    """The trainings from scratch of `symbol` by `as_of`."""
    return RetrainAttempts(*connection.execute(query("retrain_attempts"), {"symbol": symbol, "as_of": as_of}).one())


def list_bases(connection: Connection, symbol: str) -> list[dict[str, Any]]:
    """Every base of `symbol` with its metrics, oldest first."""
    return [dict(row) for row in connection.execute(query("list_bases"), {"symbol": symbol}).mappings()]
