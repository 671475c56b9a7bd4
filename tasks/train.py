"""Train: the number of rows, and the model trained on them."""

from typing import Literal

from hybrid_ml.console.progress import progress
from hybrid_ml.learning import scaling, training
from hybrid_ml.learning.leader_choice import refuse_absent
from hybrid_ml.learning.model import HybridModel
from hybrid_ml.learning.rows import Rows, Window
from hybrid_ml.pipeline.run import Run
from hybrid_ml.store import model_registry as registry
from hybrid_ml.text.counts import counted
from tasks.pipeline_task import database, log, pipeline_task


@pipeline_task("choose rows {symbol}", timeout_seconds=60, uses_io=True)
def choose_rows(symbol: str, run: Run, week: int | None, limit: int | None) -> tuple[int, int]:
    """The week of progressive scaling and the row limit; stated values take precedence over the registry's count."""
    with database().connect() as connection:
        counted = scaling.week_number(registry.first_base_at(connection, symbol), run.as_of)
    chosen = counted if week is None else week
    rows = scaling.row_limit(chosen) if limit is None else limit
    log().info("%s: week %d, up to %s rows", symbol, chosen, f"{rows:,}")
    return chosen, rows


@pipeline_task("choose leaders {symbol}", timeout_seconds=600)
def choose_leaders(symbol: str, run: Run, window: Window, row_limit: int) -> list[str]:
    """The leaders that were named for the symbol, else those that the training rows show to lead it."""
    named = run.leader_wishes.of(symbol)
    if named is not None:
        refuse_absent(symbol, named, window.rows.leader_features)
        return list(named)
    chosen = training.find_leaders(window.rows, row_limit)
    log().info("%s: %s", symbol, f"leaders: {', '.join(map(str, chosen))}" if chosen else "no other symbol leads it")
    return [leader.symbol for leader in chosen]


@pipeline_task("train {symbol} ({kind})", timeout_seconds=3_600)
def fit_base(
    symbol: str,
    run: Run,
    window: Window,
    week: int,
    row_limit: int,
    kind: Literal["base", "scratch"],
    leaders: list[str],
) -> tuple[HybridModel, Rows]:
    """A base trained on the most recent rows, and its hold-out."""
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
            leaders=leaders,
            flat_share=run.flat_share,
        )
    if model.base.rows < row_limit:
        log().warning("%s: trained on the %s rows there are, not %s", symbol, f"{model.base.rows:,}", f"{row_limit:,}")
    return model, hold_out
