"""Save: models into the registry, predictions into the ledger, copies onto the disk."""

from pathlib import Path

from hybrid_ml.alerts.compose import queue_signal
from hybrid_ml.config.settings import load_settings
from hybrid_ml.learning.model import HybridModel
from hybrid_ml.learning.promotion import Promotion
from hybrid_ml.pipeline.proposals import Proposal
from hybrid_ml.pipeline.reports import prediction_row
from hybrid_ml.pipeline.run import Run
from hybrid_ml.schemas.requests import AnalysisRequest
from hybrid_ml.store import model_registry as registry
from hybrid_ml.store import predictions
from hybrid_ml.store.model_files import read_base, write_model
from hybrid_ml.store.pruning import Pruned, prune
from hybrid_ml.text.counts import counted
from tasks.pipeline_task import database, log, pipeline_task


@pipeline_task("save model {symbol}", timeout_seconds=120, uses_io=True)
def save_base(symbol: str, model: HybridModel, promotion: Promotion) -> Promotion:
    """Save the base in the registry and, where decided, make it champion: one transaction.

    Returns the final decision: the champion may have changed since the comparison.
    """
    with database().begin() as connection:
        confirmed = registry.confirm(connection, model, promotion)
        registry.save_base(connection, model, confirmed)
    verdict = "is in use from now on" if confirmed.promoted else "does not replace the champion"
    log().info("%s: %s is in the registry and %s: %s", symbol, model.version, verdict, confirmed.reason)
    return confirmed


@pipeline_task("save prediction {symbol}", timeout_seconds=60, uses_io=True)
def save_proposal(symbol: str, run: Run, request: AnalysisRequest, proposal: Proposal) -> None:
    """The adapter, the prediction and, for a signal, its alert: one transaction."""
    with database().begin() as connection:
        if proposal.trial is not None and proposal.file is not None:
            registry.record_adapter(connection, symbol, proposal.trial.adapter, proposal.file)
        recorded = predictions.record(connection, prediction_row(proposal, run, request.preset))
        if proposal.composed is not None:
            queue_signal(connection, load_settings(), run, request, proposal, proposal.composed, recorded.id)
    if not recorded.new:
        log().info("%s: the prediction after %s was recorded before", symbol, f"{proposal.bar_time:%H:%M}")


@pipeline_task("save local copy {symbol}", timeout_seconds=60, uses_io=True)
def save_copy(symbol: str, run: Run, new_champion: HybridModel | None = None) -> Path | None:
    """Write the model in use to a file: the champion that the run has just saved, else the registry's.

    None where another model is in use now than at the run's moment, so that a run as of the past does not change the
    file.
    """
    model = new_champion or _fetch_serving(symbol, run)
    if model is None:
        return None
    path = write_model(run.folder(symbol), model)
    log().info("%s: %s", symbol, path)
    return path


def _fetch_serving(symbol: str, run: Run) -> HybridModel | None:
    with database().connect() as connection:
        serving = registry.find_serving(connection, symbol, run.as_of)
        newest = registry.find_current(connection, symbol)
        if serving is None or newest is None or serving.version != newest.version:
            return None
        return registry.fetch(connection, serving, read_base(run.folder(symbol), serving.base.part))


@pipeline_task("prune models {symbol}", timeout_seconds=120, uses_io=True)
def prune_models(symbol: str) -> None:
    """Delete model bytes that are no longer needed; `store/pruning.py` states which."""
    with database().begin() as connection:
        pruned = prune(connection, symbol)
    if pruned != Pruned(0, 0, 0):
        log().info(
            "%s: pruned the bytes of %s and %s, deleted %s", symbol,
            counted(pruned.bases, "base"), counted(pruned.adapters, "adapter"), counted(pruned.deleted, "adapter"),
        )  # fmt: skip
