"""Giving a symbol another name, everywhere."""

from datetime import datetime
from pathlib import Path

from sqlalchemy import Connection, Engine

from hybrid_ml.config.settings import Settings
from hybrid_ml.errors import BadInput
from hybrid_ml.market.simulation import SIMULATED_SYMBOL
from hybrid_ml.schemas.symbol_reports import Rename
from hybrid_ml.store import model_registry as registry
from hybrid_ml.store.locks import symbol_locks
from hybrid_ml.store.model_files import remove_model_files, write_model
from hybrid_ml.store.model_renaming import rename_models
from hybrid_ml.store.registry_events import record_rename
from hybrid_ml.store.symbol_tables import Advance, known_symbols, read_holdings, rename_symbol, tables_with
from hybrid_ml.symbols.naming import folder_of, refuse_unknown, settings_naming


def plan_rename(connection: Connection, settings: Settings, symbol: str, to: str) -> Rename:
    """What a rename would change; raises BadInput for an unknown symbol, or where the new name is taken."""
    if SIMULATED_SYMBOL in (symbol, to):
        raise BadInput(f"{SIMULATED_SYMBOL} is the name by which simulated bars are known; it stays theirs alone")
    refuse_unknown([symbol], known_symbols(connection), "symbol")
    _refuse_taken(connection, to)
    champion = registry.find_champion(connection, symbol)
    return Rename(
        symbol=symbol,
        to=to,
        holdings=read_holdings(connection, symbol),
        champion=None if champion is None else champion.version,
        named_in=settings_naming(settings, symbol),
        path=None,
        done=False,
    )


def _refuse_taken(connection: Connection, to: str) -> None:
    if tables := tables_with(connection, to):
        raise BadInput(f"--to {to}: there is something of that name already ({', '.join(tables)}); choose another name")


def rename(engine: Engine, settings: Settings, planned: Rename, now: datetime, advance: Advance) -> Rename:
    """Carry it out in one transaction, while no run works on either name; raises SymbolBusy where one does not end.

    The local copies of the models are removed before and written after it: the registry has them all.
    """
    symbol, to = planned.symbol, planned.to
    with symbol_locks(engine, settings.hybrid_ml_lock_wait_seconds) as locks:
        for name in sorted((symbol, to)):
            locks.take(name)
        with engine.connect() as connection:
            folder = folder_of(connection, settings, symbol, now)
        remove_model_files(folder, symbol)
        with engine.begin() as connection:
            for name in sorted((symbol, to)):
                registry.lock_registry(connection, name)
            _refuse_taken(connection, to)
            rename_symbol(connection, symbol, to, rename_models(connection, symbol, to), advance)
            record_rename(connection, symbol, to)
        path, champion = _write_copy(engine, settings, to, now)
    return planned.model_copy(update={"done": True, "path": path, "champion": champion})


def _write_copy(engine: Engine, settings: Settings, symbol: str, now: datetime) -> tuple[Path | None, str | None]:
    """The local copy of the model in use and the champion's version; None where the symbol has no model."""
    with engine.connect() as connection:
        champion, serving = registry.find_champion(connection, symbol), registry.find_current(connection, symbol)
        if champion is None or serving is None:
            return None, None
        return write_model(
            folder_of(connection, settings, symbol, now), registry.fetch(connection, serving)
        ), champion.version
