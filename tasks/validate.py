"""Validate: the data before training, the model before answering, and the decision on the fallback."""

from hybrid_ml.errors import ModelUnavailable
from hybrid_ml.learning.evaluation import recent_record
from hybrid_ml.learning.fallback import RECENT_ROWS, RecentRecord, fallback_reason, next_scratch
from hybrid_ml.learning.model import HybridModel
from hybrid_ml.learning.promotion import Promotion, decide, replace_damaged
from hybrid_ml.learning.rows import Rows, Window
from hybrid_ml.learning.training import judge_base
from hybrid_ml.market.bars import age_minutes
from hybrid_ml.market.quality import DataQuality, measure_quality
from hybrid_ml.pipeline.proposals import SavedModel
from hybrid_ml.pipeline.run import Run
from hybrid_ml.store import model_registry as registry
from hybrid_ml.store.registry_repair import restore_champion
from hybrid_ml.text.counts import counted
from tasks.pipeline_task import database, log, pipeline_task


@pipeline_task("validate data {symbol}", timeout_seconds=120)
def validate_data(symbol: str, run: Run, window: Window) -> DataQuality:
    """Counts and warnings about the bars of a training."""
    quality = measure_quality(window.grid, run.as_of)
    for warning in quality.warnings:
        log().warning("%s: %s", symbol, warning)
    return quality


@pipeline_task("validate model {symbol}", timeout_seconds=120)
def validate_model(symbol: str, model: HybridModel, window: Window) -> RecentRecord:
    """Accuracy of the model on the newest labelled rows that it has not seen."""
    recent = recent_record(model, window.rows, count=RECENT_ROWS)
    if recent.accuracy is None:
        log().info("%s: no labelled row is newer than the model; it cannot be evaluated yet", symbol)
    else:
        log().info(
            "%s: accuracy %.3f on %s (always the most frequent class: %.3f)",
            symbol,
            recent.accuracy,
            counted(recent.rows, "recent row"),
            recent.majority_accuracy,
        )
    return recent


@pipeline_task("validate on hold-out {symbol}", timeout_seconds=120)
def validate_on_hold_out(symbol: str, run: Run, model: HybridModel, hold_out: Rows) -> HybridModel:
    """The model with its metrics on rows it has not seen; the evaluated model is the one that is used."""
    judged = judge_base(model, hold_out, num_threads=run.training_threads)
    metrics = judged.base.metrics
    log().info(
        "%s: hold-out accuracy %.3f (majority %.3f), log loss %.4f (class prior %.4f) on %s",
        symbol,
        metrics["accuracy"],
        metrics["majority_accuracy"],
        metrics["log_loss"],
        metrics["prior_log_loss"],
        counted(metrics["rows"], "row"),
    )
    return judged


@pipeline_task("challenge champion {symbol}", timeout_seconds=120, uses_io=True)
def compare_with_champion(symbol: str, run: Run, challenger: HybridModel, hold_out: Rows) -> Promotion:
    """Whether the challenger replaces the champion, judged on rows that neither has been trained on."""
    champion, data_cutoff = None, None
    with database().begin() as connection:
        serving = registry.find_champion(connection, symbol)
        if serving is not None:
            data_cutoff = registry.data_cutoff(connection, serving.version)
            try:
                champion = registry.fetch(connection, serving)
            except ModelUnavailable as error:
                champion = restore_champion(connection, run.folder(symbol), symbol)
                found = "restored from the local file" if champion else "and the local file cannot replace it"
                log().error("%s: the champion %s is damaged (%s), %s", symbol, serving.version, error, found)
    if serving is not None and champion is None:
        promotion = replace_damaged(challenger, serving.version, data_cutoff)
    else:
        promotion = decide(challenger, champion, hold_out, num_threads=run.training_threads)
    log().info("%s: %s (%s)", symbol, "promoted" if promotion.promoted else "the champion stays", promotion.reason)
    return promotion


def decide_fallback(
    symbol: str, run: Run, saved: SavedModel, recent: RecentRecord | None, window: Window, max_bar_age_minutes: float
) -> str | None:
    """Why to train from scratch now, or None. A poor model is replaced at most once an hour, then more rarely.

    A task is run only where there is something to decide.
    """
    reason = fallback_reason(saved.problem, recent)
    if reason is None or saved.model is None or may_train_again(symbol, run, reason, window, max_bar_age_minutes):
        return reason
    return None


@pipeline_task("decide on fallback {symbol}", timeout_seconds=60, uses_io=True)
def may_train_again(symbol: str, run: Run, reason: str, window: Window, max_bar_age_minutes: float) -> bool:
    """Whether a poor model is to be replaced now: only with fresh bars, and not too often."""
    if age_minutes(window.bar_time, run.as_of) > max_bar_age_minutes:
        log().info("%s: %s, but there are no fresh bars to train on", symbol, reason)
        return False
    with database().connect() as connection:
        tries = registry.retrain_attempts(connection, symbol, run.as_of)
    again = next_scratch(tries.newest, tries.failed_attempts)
    if again is not None and run.as_of < again:
        log().warning(
            "%s: %s; next training from scratch not before %s UTC",
            symbol,
            reason,
            f"{again:%Y-%m-%d %H:%M}",
        )
        return False
    return True
