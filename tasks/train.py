"""Train: how many rows, and the model made of them."""

from typing import Literal

from hybrid_ml.console.run_tables import progress
from hybrid_ml.learning import scaling, training
from hybrid_ml.learning.model import HybridModel
from hybrid_ml.learning.rows import Rows, Window
from hybrid_ml.pipeline.context import Run
from hybrid_ml.store import model_registry as registry
from hybrid_ml.text.counts import counted
from tasks.pipeline_task import database, log, pipeline_task


@pipeline_task("choose rows {symbol}", timeout_seconds=60, uses_io=True)
def choose_rows(symbol: str, run: Run, week: int | None, limit: int | None) -> tuple[int, int]:
    """The week of progressive scaling and the row limit; given values win over the registry's count."""
    with database().connect() as connection:
        counted = scaling.week_number(registry.first_base_at(connection, symbol), run.as_of)
    chosen = counted if week is None else week
    rows = scaling.row_limit(chosen) if limit is None else limit
    log().info("%s: week %d, up to %s rows", symbol, chosen, f"{rows:,}")
    return chosen, rows


@pipeline_task("train {symbol} ({kind})", timeout_seconds=3_600)
def fit_base(
    symbol: str, run: Run, window: Window, week: int, row_limit: int, kind: Literal["base", "scratch"]
) -> tuple[HybridModel, Rows]:
    """A base trained on the most recent rows, and the hold-out it has not seen."""
    log().info("%s: %d rounds on %s", symbol, training.BOOSTING_ROUNDS, counted(run.training_threads, "thread"))
    with progress(f"training {symbol}", training.BOOSTING_ROUNDS) as advance:
        model, hold_out = training.fit_base(
            window.rows,
            symbol=symbol,
            kind=kind,
            row_limit=row_limit,
            week=week,
            as_of=run.as_of,
            num_threads=run.training_threads,
            on_round=lambda _: advance(1),
        )
    if model.base.rows < row_limit:
        log().warning("%s: trained on the %s rows there are, not %s", symbol, f"{model.base.rows:,}", f"{row_limit:,}")
    return model, hold_out
