"""Which symbols there are, for the commands that manage them."""

from datetime import datetime
from pathlib import Path

from sqlalchemy import Connection

from hybrid_ml.config.settings import Settings
from hybrid_ml.errors import BadInput
from hybrid_ml.pipeline.run import make_run
from hybrid_ml.schemas.requests import Request
from hybrid_ml.store import bars as stored_bars
from hybrid_ml.text.names import nearest_names

SYMBOLS, CHATS = "hybrid_ml_symbols", "telegram_chats"


def refuse_unknown(symbols: list[str], known: list[str], flag: str) -> None:
    """Raise BadInput, with similar names, for the first of `symbols` that is not in `known`."""
    for symbol in symbols:
        if symbol in known:
            continue
        near = nearest_names(symbol, known)
        hint = f"did you mean {', '.join(near)}?" if near else f"symbols there: {', '.join(known) or 'none yet'}"
        raise BadInput(f"--{flag} {symbol}: no such symbol in the database; {hint}")


def settings_naming(settings: Settings, symbol: str) -> list[str]:
    """The settings, variables or blocks that name `symbol`: a person has to change them."""
    named = [settings.setting_source(SYMBOLS)] if symbol in settings.symbols else []
    wished = any(symbol in chat.symbols for chat in settings.chats)
    return named + ([settings.setting_source(CHATS)] if wished else [])


def folder_of(connection: Connection, settings: Settings, symbol: str, now: datetime) -> Path:
    """The folder of the local copies of `symbol`'s models."""
    return make_run(Request(symbols=[symbol]), settings, stored_bars.symbols(connection), now).folder(symbol)
