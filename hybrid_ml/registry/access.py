"""The saved model for a program or a Python prompt: load it, save one, evaluate it on recent bars.

The same registry and files the flows use, without Prefect.
"""

from contextlib import suppress
from dataclasses import fields, replace
from datetime import UTC, datetime

import numpy as np
from sqlalchemy import Connection

from hybrid_ml.config.settings import load_settings
from hybrid_ml.errors import BadInput, DataUnavailable, ModelUnavailable
from hybrid_ml.learning.evaluation import recent_record
from hybrid_ml.learning.fallback import RECENT_ROWS, RecentRecord
from hybrid_ml.learning.model import HybridModel
from hybrid_ml.learning.model_bytes import unpack_base
from hybrid_ml.learning.promotion import Promotion
from hybrid_ml.learning.rows import make_window
from hybrid_ml.market.bars import closed_before
from hybrid_ml.market.features import LOOK_BACK_BARS
from hybrid_ml.pipeline.run import Run, make_run
from hybrid_ml.schemas.requests import Request
from hybrid_ml.store import model_registry as registry
from hybrid_ml.store.bars import bar_span, recent_open_bars, symbols
from hybrid_ml.store.engine import open_engine
from hybrid_ml.store.model_files import read_model, write_model
from hybrid_ml.store.sessions import read_sessions


def load_saved_model(symbol: str | None = None, as_of: datetime | None = None) -> HybridModel:
    """The model in use for `symbol` (default: the default symbol) at `as_of` (default: now).

    Read from the local copy where it matches the registry, else from the registry. Raises
    ModelUnavailable when there is none, or its bytes are damaged.
    """
    with open_engine(load_settings()).connect() as connection:
        run = _run(connection, symbol, as_of)
        return _load(connection, run)


def save_model(model: HybridModel, reason: str = "saved by hand") -> str:
    """Put `model`'s base into the registry as champion, with its local copy; returns the version in use.

    An adapter of the model is recorded with it, and used if it is the newest trial of that base. The
    former champion is retired, and kept. Raises BadInput for a model that was changed after it was packed.
    """
    _refuse_changed(model)
    with open_engine(load_settings()).begin() as connection:
        registry.save_base(connection, model, Promotion(True, reason))
        if model.adapter is not None:
            registry.save_adapter(connection, model.base, model.adapter)
        run = _run(connection, model.base.symbol, None)
        serving = registry.find_current(connection, model.base.symbol)
        if serving is None:
            raise ModelUnavailable(f"{model.base.version} was not saved")
        saved = registry.fetch(connection, serving)
    write_model(run.folder(model.base.symbol), saved)
    return saved.version


def _refuse_changed(model: HybridModel) -> None:
    """Refuse a base whose fields differ from its bytes: it would be saved without the changes."""
    kept = unpack_base(model.base.packed)
    for item in fields(kept):
        if item.name != "packed" and not np.array_equal(getattr(kept, item.name), getattr(model.base, item.name)):
            raise BadInput(
                f"{item.name} of {model.base.version} was changed after the model was packed; make it a new version "
                "first: hybrid_ml.learning.model_bytes.pack(base)"
            )


def validate_model_on_recent_data(
    model: HybridModel | None = None, symbol: str | None = None, rows: int = RECENT_ROWS, as_of: datetime | None = None
) -> RecentRecord:
    """Accuracy of `model` (default: the saved one) on the newest `rows` labelled rows it has not seen."""
    with open_engine(load_settings()).connect() as connection:
        run = _run(connection, symbol or (model.base.symbol if model else None), as_of)
        judged = model or _load(connection, run)
        bar_span(connection, run.symbols[0])
        until = closed_before(run.as_of)
        sessions = run.sessions_of(run.symbols[0])
        bars = recent_open_bars(connection, run.symbols[0], until, 2 * rows + LOOK_BACK_BARS, sessions)
    if bars.empty:
        raise DataUnavailable(f"{run.symbols[0]} has no bar before {run.as_of:%Y-%m-%d %H:%M}")
    return recent_record(judged, make_window(bars, run.max_gap_minutes, sessions).rows, count=rows)


def _run(connection: Connection, symbol: str | None, as_of: datetime | None) -> Run:
    request = Request(symbols=[symbol] if symbol else [], as_of=as_of)
    run = make_run(request, load_settings(), symbols(connection), datetime.now(UTC))
    chosen = [symbol or run.default_symbol]
    return replace(run, symbols=chosen, sessions=read_sessions(connection, chosen))


def _load(connection: Connection, run: Run) -> HybridModel:
    symbol = run.symbols[0]
    serving = registry.find_serving(connection, symbol, run.as_of)
    if serving is None:
        raise ModelUnavailable(f"there is no saved model of {symbol}; train one with `python train_model.py`")
    if serving.is_champion:
        with suppress(ModelUnavailable):  # the registry has it too
            return read_model(run.folder(symbol), serving.file, symbol)
    return registry.fetch(connection, serving)
