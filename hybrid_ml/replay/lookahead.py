"""What cycles see under a given champion: nearly all that a replay costs, and none of its memory.

Every adapter starts from the base, never from the adapter before, so what a cycle sees depends on the
champion, on rows, and on which cycle left the adapter that serves; not on gates, signals or outcomes.
It can therefore be worked out ahead, side by side, for as long as the champion stays.
"""

from collections.abc import Generator, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, replace

from hybrid_ml.learning.evaluation import RecentRecord, recent_record
from hybrid_ml.learning.fallback import RECENT_ROWS
from hybrid_ml.learning.fine_tuning import MINIMUM_FINE_TUNE_ROWS, fine_tune
from hybrid_ml.learning.model import HybridModel, Kind
from hybrid_ml.replay.executors import Spread
from hybrid_ml.replay.history import CycleBatch, CycleView, Past
from hybrid_ml.signals.gates import Answer

STRETCH_CYCLES = 72
"""Half a day: long enough that sending the champion along costs little, short enough to be thrown away."""


@dataclass(frozen=True)
class CyclePrediction:
    """What one cycle sees: the recent record of what served until then, and the answers of what serves now.

    `base` is the base's answer without an adapter; `version` and `kind` are those of the part that answers.
    """

    recent: RecentRecord
    answer: Answer
    base: Answer
    version: str
    kind: Kind


def rows_needed(fine_tune_rows: int) -> int:
    """Labelled rows a cycle looks at; `fine_tune_rows` is 0 in fast mode."""
    return max(RECENT_ROWS, fine_tune_rows)


def leaves_adapter(sight: CycleView, fine_tune_rows: int) -> bool:
    """Whether the cycle tries an adapter, which then serves until the next one does."""
    return fine_tune_rows > 0 and sight.labelled >= MINIMUM_FINE_TUNE_ROWS


def look(champion: HybridModel, stretch: CycleBatch, fine_tune_rows: int) -> list[CyclePrediction]:
    """What the cycles of `stretch` see, one after the other. `champion`: its base; an adapter is ignored."""
    serving, stretch = champion.with_adapter(None), stretch.with_leaves(champion)

    def adapted(sight: CycleView) -> HybridModel:
        trial = fine_tune(champion, stretch.view(sight), count=fine_tune_rows, as_of=sight.now)
        return champion.with_adapter(trial.adapter)

    if stretch.before is not None:
        serving = adapted(stretch.before)
    found = []
    for sight in stretch.sights:
        rows = stretch.view(sight)
        recent = recent_record(serving, rows, count=RECENT_ROWS)
        if leaves_adapter(sight, fine_tune_rows):
            serving = adapted(sight)
        answer, base = (
            Answer.of(model.probabilities_of(rows.latest())[0]) for model in (serving, serving.with_adapter(None))
        )
        found.append(CyclePrediction(recent, answer, base, serving.version, serving.kind))
    return found


def look_ahead(
    champion: HybridModel,
    before: CycleView | None,
    past: Past,
    sights: Sequence[CycleView],
    fine_tune_rows: int,
    spread: Spread,
) -> Generator[CyclePrediction]:
    """What each of `sights` sees as long as `champion` serves, worked out in stretches ahead of being asked for.

    `before`: the sight of the cycle whose adapter serves at the beginning, None when there is none.
    Closing the iterator drops what was worked out in vain.
    """
    # Without its bytes and without a booster parsed here, a champion is half as long to send.
    champion = HybridModel(replace(champion.base, packed=b""))

    def stretches(before: CycleView | None) -> Iterator[tuple[HybridModel, CycleBatch, int]]:
        for first in range(0, len(sights), STRETCH_CYCLES):
            part = sights[first : first + STRETCH_CYCLES]
            yield champion, past.stretch(part, before), fine_tune_rows
            before = next((sight for sight in reversed(part) if leaves_adapter(sight, fine_tune_rows)), before)

    with closing(spread.in_order(look, stretches(before))) as parts:
        for part in parts:
            yield from part
