"""Save: models into the registry, predictions into the ledger, copies onto the disk."""

from pathlib import Path

from hybrid_ml.alerts.compose import queue_signal
from hybrid_ml.config.settings import load_settings
from hybrid_ml.learning.model import HybridModel
from hybrid_ml.learning.promotion import Promotion
from hybrid_ml.pipeline.context import Proposal, Run
from hybrid_ml.schemas.requests import AnalysisRequest
from hybrid_ml.store import model_registry as registry
from hybrid_ml.store import predictions
from hybrid_ml.store.model_files import read_base, write_model
from hybrid_ml.store.predictions import Prediction
from hybrid_ml.store.pruning import Pruned, prune
from hybrid_ml.text.counts import counted
from tasks.pipeline_task import database, log, pipeline_task


@pipeline_task("save model {symbol}", timeout_seconds=120, uses_io=True)
def save_base(symbol: str, model: HybridModel, promotion: Promotion) -> Promotion:
    """The base into the registry and, where decided, into the champion's place: one transaction.

    Returns what was decided in the end: the champion may have changed since the comparison.
    """
    with database().begin() as connection:
        confirmed = registry.confirm(connection, model, promotion)
        registry.save_base(connection, model, confirmed)
    verdict = "serves from now on" if confirmed.promoted else "does not replace the champion"
    log().info("%s: %s is in the registry and %s: %s", symbol, model.version, verdict, confirmed.reason)
    return confirmed


@pipeline_task("save prediction {symbol}", timeout_seconds=60, uses_io=True)
def save_proposal(symbol: str, run: Run, request: AnalysisRequest, proposal: Proposal) -> None:
    """The adapter, the prediction and, for a signal, its alert: one transaction."""
    with database().begin() as connection:
        if proposal.trial is not None and proposal.file is not None:
            registry.record_adapter(connection, symbol, proposal.trial.adapter, proposal.file)
        recorded = predictions.record(connection, _prediction(run, request, proposal))
        if proposal.composed is not None:
            queue_signal(connection, load_settings(), run, request, proposal, proposal.composed, recorded.id)
    if not recorded.new:
        log().info("%s: the prediction after %s was recorded before", symbol, f"{proposal.bar_time:%H:%M}")


@pipeline_task("save local copy {symbol}", timeout_seconds=60, uses_io=True)
def save_copy(symbol: str, run: Run, model: HybridModel | None = None) -> Path | None:
    """The champion as it serves now, as a file: `model`, or the registry's where that is another.

    None when something else serves now than at the run's moment, so that judging the past leaves the
    file alone.
    """
    with database().connect() as connection:
        serving = registry.find_serving(connection, symbol, run.as_of)
        newest = registry.find_current(connection, symbol)
        if serving is None or newest is None or serving.version != newest.version:
            return None
        if model is None or serving.version != model.version:
            model = registry.fetch(connection, serving, read_base(run.folder(symbol), serving.base.part))
    path = write_model(run.folder(symbol), model)
    log().info("%s: %s", symbol, path)
    return path


@pipeline_task("prune models {symbol}", timeout_seconds=120, uses_io=True)
def prune_models(symbol: str) -> None:
    """Let go of model bytes nobody needs any more; which those are is said in `store/pruning.py`."""
    with database().begin() as connection:
        pruned = prune(connection, symbol)
    if pruned != Pruned(0, 0, 0):
        log().info(
            "%s: pruned the bytes of %s and %s, deleted %s", symbol,
            counted(pruned.bases, "base"), counted(pruned.adapters, "adapter"), counted(pruned.deleted, "adapter"),
        )  # fmt: skip


def _prediction(run: Run, request: AnalysisRequest, proposal: Proposal) -> Prediction:
    return Prediction(
        symbol=proposal.symbol,
        bar_time=proposal.bar_time,
        as_of=run.as_of,
        close=proposal.close,
        answer=proposal.answer,
        threshold=proposal.model.label_threshold,
        model_version=proposal.model.version,
        preset=request.preset,
        verdicts=proposal.verdicts,
        signal=proposal.signal,
        silenced_by_penalty=proposal.silenced_by_penalty,
        degraded=proposal.degraded,
        fell_back=proposal.fallback is not None,
    )
