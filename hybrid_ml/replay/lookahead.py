"""Predictions of cycles under a given champion: nearly all the work of a replay, and independent of its state.

Every adapter starts from the base, never from the adapter before, so a cycle's prediction depends on the
champion, on rows, and on the cycle whose adapter is in use; not on gates, signals or outcomes.
It can therefore be computed ahead, in parallel, for as long as the champion stays.
"""

from collections.abc import Generator, Iterator, Sequence
from contextlib import closing
from dataclasses import replace
from itertools import groupby

from hybrid_ml.learning.evaluation import recent_record
from hybrid_ml.learning.fallback import RECENT_ROWS
from hybrid_ml.learning.fine_tuning import MINIMUM_FINE_TUNE_ROWS, fine_tune
from hybrid_ml.learning.model import HybridModel
from hybrid_ml.replay.executors import WorkerPool
from hybrid_ml.replay.history import CycleBatch, CycleView, Past
from hybrid_ml.replay.kept import CyclePrediction, KeptWork, PredictionKey
from hybrid_ml.signals.gates import Answer

BATCH_CYCLES = 72
"""Half a day: long enough that sending the champion with it costs little, short enough to be discarded."""


def rows_needed(fine_tune_rows: int) -> int:
    """Labelled rows that a cycle needs; `fine_tune_rows` is 0 in fast mode."""
    return max(RECENT_ROWS, fine_tune_rows)


def leaves_adapter(view: CycleView, fine_tune_rows: int) -> bool:
    """Whether the cycle tries an adapter, which is then in use until the next trial."""
    return fine_tune_rows > 0 and view.labelled >= MINIMUM_FINE_TUNE_ROWS


def predict_batch(champion: HybridModel, batch: CycleBatch, fine_tune_rows: int) -> list[CyclePrediction]:
    """The predictions of the cycles of `batch`, in order. `champion`: its base; an adapter is ignored."""
    serving, batch = champion.with_adapter(None), batch.with_leaves(champion)

    def adapted(view: CycleView) -> HybridModel:
        trial = fine_tune(champion, batch.rows_of(view), count=fine_tune_rows, as_of=view.now)
        return champion.with_adapter(trial.adapter)

    if batch.before is not None:
        serving = adapted(batch.before)
    predictions = []
    for view in batch.views:
        rows = batch.rows_of(view)
        recent = recent_record(serving, rows, count=RECENT_ROWS)
        if leaves_adapter(view, fine_tune_rows):
            serving = adapted(view)
        answer, base = (
            Answer.of(model.probabilities_of(rows.latest())[0]) for model in (serving, serving.with_adapter(None))
        )
        predictions.append(CyclePrediction(recent, answer, base, serving.version, serving.kind))
    return predictions


def look_ahead(
    champion: HybridModel,
    before: CycleView | None,
    past: Past,
    views: Sequence[CycleView],
    fine_tune_rows: int,
    pool: WorkerPool,
    kept: KeptWork,
) -> Generator[CyclePrediction]:
    """The prediction of each of `views` under `champion`: from `kept`, else computed ahead of its use, and kept.

    `before`: the cycle whose adapter is in use at the beginning, None when there is none.
    Closing the iterator discards predictions that were computed and not used.
    """
    steps = []
    for view in views:
        key = PredictionKey(champion.base.version, None if before is None else before.now, view.now)
        steps.append((key, before, view))
        before = view if leaves_adapter(view, fine_tune_rows) else before
    for is_kept, part in groupby(steps, key=lambda step: step[0] in kept.predictions):
        group = list(part)
        if is_kept:
            yield from (kept.predictions[key] for key, _, _ in group)
            continue
        missing = [view for _, _, view in group]
        with closing(_computed(champion, group[0][1], past, missing, fine_tune_rows, pool)) as computed:
            for (key, _, _), prediction in zip(group, computed, strict=True):
                kept.add_prediction(key, prediction)
                yield prediction


def _computed(
    champion: HybridModel,
    before: CycleView | None,
    past: Past,
    views: Sequence[CycleView],
    fine_tune_rows: int,
    pool: WorkerPool,
) -> Generator[CyclePrediction]:
    """The prediction of each of `views`, computed in batches."""
    # Without its bytes and without a parsed booster, a champion takes half as long to send.
    champion = HybridModel(replace(champion.base, packed=b""))

    def batches(before: CycleView | None) -> Iterator[tuple[HybridModel, CycleBatch, int]]:
        for first in range(0, len(views), BATCH_CYCLES):
            part = views[first : first + BATCH_CYCLES]
            yield champion, past.batch(part, before, champion.base.leaders), fine_tune_rows
            before = next((view for view in reversed(part) if leaves_adapter(view, fine_tune_rows)), before)

    with closing(pool.map_in_order(predict_batch, batches(before))) as parts:
        for part in parts:
            yield from part
