"""Changes to the registry by hand: roll back, export, import."""

import shlex
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from sqlalchemy import Connection, Engine, text
from sqlalchemy.exc import DataError, IntegrityError

from hybrid_ml.config.settings import Settings
from hybrid_ml.errors import BadInput, ModelUnavailable, one_line
from hybrid_ml.learning.model import HybridModel
from hybrid_ml.learning.model_bytes import Checksum, build, check_seal, pack_file, seal, unpack_file
from hybrid_ml.pipeline.run import make_run
from hybrid_ml.registry.import_checks import check_particulars
from hybrid_ml.registry.sandbox import try_in_child
from hybrid_ml.schemas.registry_reports import Export, Import, Rollback
from hybrid_ml.schemas.requests import Request
from hybrid_ml.store import bars as stored_bars
from hybrid_ml.store import model_registry as registry
from hybrid_ml.store.model_export import read_model_file, write_model_file
from hybrid_ml.store.model_files import write_model
from hybrid_ml.store.registry_events import record_event
from hybrid_ml.store.registry_listing import unknown_version


@dataclass(frozen=True)
class VersionRow:
    """A version in the registry, with its bytes, None where they are pruned."""

    version: str
    symbol: str
    kind: str
    parent: str | None
    status: str
    part: Checksum
    data: bytes | None

    def checked(self) -> bytes:
        """The bytes; raises ModelUnavailable unless they exist and match their checksum."""
        if self.data is None:
            raise ModelUnavailable(
                f"the bytes of {self.version} are pruned; only a file from `hybrid-ml models export` can restore them"
            )
        try:
            check_seal(self.data, self.part)
        except ModelUnavailable as error:
            raise ModelUnavailable(f"the bytes of {self.version} in the registry are damaged: {error}") from None
        return self.data


def find_row(connection: Connection, version: str) -> VersionRow:
    """The row of `version`, locked until the transaction ends; raises ModelUnavailable when recorded is none."""
    result = connection.execute(
        text(
            "SELECT version, symbol, kind, parent, status, sha256, length, bytes FROM model_versions "
            "WHERE version = :version FOR UPDATE"
        ),
        {"version": version},
    ).one_or_none()
    if result is None:
        raise unknown_version(connection, version)
    data = None if result.bytes is None else bytes(result.bytes)
    return VersionRow(
        version, result.symbol, result.kind, result.parent, result.status, Checksum(result.length, result.sha256), data
    )


def find_symbol(connection: Connection, version: str) -> str:
    """The symbol that `version` belongs to; raises ModelUnavailable when it is not in the registry."""
    statement = text("SELECT symbol FROM model_versions WHERE version = :version")
    symbol = connection.execute(statement, {"version": version}).scalar()
    if symbol is None:
        raise unknown_version(connection, version)
    return str(symbol)


def roll_back(engine: Engine, settings: Settings, version: str, reason: str, now: datetime) -> Rollback:
    """Make the base `version` the champion, whatever its status; one transaction.

    Raises BadInput for an adapter or the champion itself, ModelUnavailable for a version that is
    unknown or whose bytes are pruned or damaged; then nothing has changed.
    """
    with engine.begin() as connection:
        # The symbol's lock is taken before any row's, as everywhere, to avoid deadlocks.
        registry.lock_registry(connection, find_symbol(connection, version))
        row = find_row(connection, version)
        if row.kind == "adapter":
            raise BadInput(f"{version} is an adapter; roll back to its base with {_rollback_command(str(row.parent))}")
        if row.status == "champion":
            raise BadInput(f"{version} is the champion of {row.symbol} already")
        build(row.checked(), None, row.symbol)
        message = f"rolled back by hand: {reason}" if reason else "rolled back by hand"
        previous = registry.promote(connection, row.symbol, version, message, "rolled back")
        model = _serving_model(connection, row, now)
        folder = _folder(connection, settings, row.symbol, now)
    path = _write_copy(folder, model)
    return Rollback(symbol=row.symbol, version=version, previous=previous, serving=model.version, path=path)


def _serving_model(connection: Connection, row: VersionRow, now: datetime) -> HybridModel:
    """The model in use with the new champion: the base, or the base with its newest adapter."""
    serving = registry.find_serving(connection, row.symbol, now)
    if serving is None or serving.base.version != row.version:
        raise BadInput(f"{row.version} has seen bars later than {now:%Y-%m-%d %H:%M} UTC; it cannot be used yet")
    return registry.fetch(connection, serving)


def _folder(connection: Connection, settings: Settings, symbol: str, now: datetime) -> Path:
    request = Request(symbols=[symbol])
    return make_run(request, settings, stored_bars.symbols(connection), now).folder(symbol)


def _write_copy(folder: Path, model: HybridModel) -> Path:
    """Write the local copy, after the registry has changed: a folder that cannot be written does not undo that."""
    try:
        return write_model(folder, model)
    except BadInput as error:
        raise BadInput(f"{model.version} is in use from the next analysis on, but {error}") from error


def _rollback_command(version: str) -> str:
    return f"`hybrid-ml models rollback --to {shlex.quote(version)}`"


def export_model(engine: Engine, version: str, path: Path) -> Export:
    """Write `version` to the new file `path`: a base, or an adapter with its base.

    Raises ModelUnavailable when it is unknown or its bytes are pruned or damaged, BadInput when the
    file is recorded already or cannot be written.
    """
    with engine.begin() as connection:
        row = find_row(connection, version)
        base = row if row.parent is None else find_row(connection, row.parent)
    model = build(base.checked(), None if row is base else row.checked(), row.symbol)
    if row is not base and not model.adapted:
        raise BadInput(f"{version} is a trial that changed nothing in its base; export that: --version {base.version}")
    sealed = write_model_file(path, pack_file(model))
    return Export(symbol=row.symbol, version=version, path=path, length=sealed.length, sha256=sealed.sha256)


def import_model(engine: Engine, settings: Settings, path: Path, now: datetime) -> Import:
    """Import the model in the file `path` into the registry; it is used at once only where the symbol has no model.

    Raises BadInput for a file that is no model file, ModelUnavailable for one that is damaged, made for
    other features, or fails its trial; then nothing has changed.
    """
    data = read_model_file(path)
    try:
        model = unpack_file(data, None)
        check_particulars(model, now)
        try_in_child(data)
        with engine.begin() as connection:
            report = _record(connection, model, f"imported from {path.name}", now)
            folder = _folder(connection, settings, report.symbol, now)
    except ModelUnavailable as error:
        raise ModelUnavailable(f"--path {path}: {error}") from None
    except (DataError, IntegrityError, TypeError, ValueError) as error:
        # It passed the checks, but the registry cannot store it: NaN or bytes in a note, for instance.
        message = one_line(getattr(error, "orig", None) or error)
        raise ModelUnavailable(f"--path {path}: format check failed: {message}") from None
    if report.changed and report.champion and report.serving == model.version:
        _write_copy(folder, model)
    return report


def _record(connection: Connection, model: HybridModel, reason: str, now: datetime) -> Import:
    symbol, base, adapter = model.base.symbol, model.base, model.adapter
    registry.lock_registry(connection, symbol)
    changed = registry.insert_base(connection, base, "candidate", reason) != "nothing"
    if changed:
        record_event(connection, symbol, "imported", base.version, reason=reason)
    _check_same(connection, base.version, base.packed)
    if adapter is not None:
        if registry.save_adapter(connection, base, adapter) != "nothing":
            record_event(connection, symbol, "imported", adapter.version, reason=reason)
            changed = True
        _check_same(connection, adapter.version, adapter.packed)
    champion = registry.find_champion(connection, symbol)
    if champion is None:
        registry.promote(connection, symbol, base.version, f"{reason}; recorded was no champion")
        changed = True
    serving = registry.find_serving(connection, symbol, now)
    return Import(
        symbol=symbol,
        version=model.version,
        base=base.version,
        changed=changed,
        champion=champion is None or champion.version == base.version,
        serving=None if serving is None else serving.version,
    )


def _check_same(connection: Connection, version: str, packed: bytes) -> None:
    """A version contains only eight digits of a sha256; another model may have been made to have the same."""
    recorded = connection.execute(
        text("SELECT sha256 FROM model_versions WHERE version = :version"), {"version": version}
    ).scalar_one()
    if recorded != seal(packed).sha256:
        raise ModelUnavailable(f"sha256 check failed: the registry holds another model under {version}")
