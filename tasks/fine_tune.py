"""Fine-tune: refit the base's leaf values to recent rows, where unseen rows confirm it."""

from hybrid_ml.learning import fine_tuning
from hybrid_ml.learning.fine_tuning import MINIMUM_FINE_TUNE_ROWS, FineTuneTrial
from hybrid_ml.learning.model import HybridModel
from hybrid_ml.learning.rows import Window
from hybrid_ml.pipeline.run import Run
from tasks.pipeline_task import log, pipeline_task


@pipeline_task("fine-tune {symbol}", timeout_seconds=120)
def fine_tune(symbol: str, run: Run, model: HybridModel, window: Window, rows: int) -> FineTuneTrial | None:
    """Try an adapter on the newest `rows` labelled rows; None where there are too few."""
    labelled = len(window.rows.labelled())
    if labelled < MINIMUM_FINE_TUNE_ROWS:
        log().warning("%s: %d labelled rows are too few to fine-tune on (%d)", symbol, labelled, MINIMUM_FINE_TUNE_ROWS)
        return None
    trial = fine_tuning.fine_tune(model, window.rows, count=rows, as_of=run.as_of)
    verdict = f"adapted by step {trial.adapter.step:g}" if trial.adapter.step else "the base stays"
    log().info("%s: %s (the whole refit on unseen rows: %s)", symbol, verdict, trial.refit)
    return trial
