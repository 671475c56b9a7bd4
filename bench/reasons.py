"""Reasons: what it costs to say what moved one answer, beside the stage that gives the answer.

Measured for one row: LightGBM's contributions, `explain` (contributions, groups and words), and, for scale, the
probabilities, whose trees are parsed already, and a whole fine-tune, which every answer pays. Also what the counts of
nodes, which the contributions need, add to a model: bytes of its text, and the time to parse it.
The rejected way: an adapter's leaf values given to LightGBM, so that contributions would be exactly those of the
adapted model; "adapted booster" is the cost of that for one answer. "same first group" says how often both ways name
the same strongest group, "same sign" how often a group works in the same direction.
"""

import statistics
import time
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta

import lightgbm
import numpy as np
from common import Report, cross_check, interleaved, options, show_progress, some_bars

from hybrid_ml.learning import training
from hybrid_ml.learning.contributions import GROUPS, contributions
from hybrid_ml.learning.fine_tuning import MAXIMUM_FINE_TUNE_ROWS, fine_tune
from hybrid_ml.learning.model import HybridModel
from hybrid_ml.learning.rows import Rows, make_window
from hybrid_ml.market.bars import MAX_GAP_MINUTES
from hybrid_ml.replay.history import hide_unknown
from hybrid_ml.signals.feature_words import Series
from hybrid_ml.signals.gates import Answer
from hybrid_ml.signals.reasons import explain

MORE_BARS = 5_500
"""Beyond the rows to train on and those that answers are compared on: for the first features and the hold-out."""
MOST_MILLISECONDS = 10.0
COUNTS = ("leaf_count=", "internal_count=")


def main() -> None:
    parser = options(__doc__, smallest={"training_rows": 2_000, "repetitions": 1, "answers": 1})
    parser.add_argument("--training_rows", type=int, default=80_000, help="rows the base is trained on")
    parser.add_argument("--answers", type=int, default=40, help="adapted answers that both ways are compared on")
    parser.add_argument("--repetitions", type=int, default=30)
    chosen = parser.parse_args()
    recent = MAXIMUM_FINE_TUNE_ROWS + 100 * chosen.answers
    window = make_window(some_bars(chosen.training_rows + MORE_BARS + recent, chosen.csv_path), MAX_GAP_MINUTES)
    show_progress("training the base")
    model = train(window.rows.take(slice(0, len(window.rows) - recent)), chosen.training_rows)
    row, own = window.rows.latest().features, Series("BENCH", window.grid)
    answer, text, lean = Answer.of(model.probabilities(row)[0]), model.base.trees, without_counts(model.base.trees)
    cross_check(bool(explain(model, row, answer, own).reasons), "the answer has reasons")
    adapters = adapted_models(model, window.rows, chosen.answers)
    leaf_values = model.base.leaf_values
    show_progress(f"{chosen.repetitions} repetitions of each candidate")
    median = interleaved(
        {
            "contributions": lambda: contributions(model, row, answer.top),
            "explain": lambda: explain(model, row, answer, own),
            "probabilities": lambda: model.probabilities(row),
            "fine-tune": lambda: fine_tune(model, window.rows, count=1_000, as_of=model.base.as_of),
            "parse": lambda: lightgbm.Booster(model_str=text),
            "parse lean": lambda: lightgbm.Booster(model_str=lean),
            "adapted": lambda: adapted_booster(text, leaf_values).predict(row, pred_contrib=True, num_threads=1),
        },
        chosen.repetitions,
    )
    report = Report(f"reasons: one row, {len(leaf_values)} trees, 1 thread")
    report.add("contributions", median["contributions"] * 1000, "ms")
    report.add("explain", median["explain"] * 1000, "ms")
    spent = [processor_seconds(lambda: explain(model, row, answer, own)) for _ in range(chosen.repetitions)]
    report.add("explain, processor time", statistics.median(spent) * 1000, "ms", MOST_MILLISECONDS)
    report.add("probabilities", median["probabilities"] * 1000, "ms")
    report.add("a whole fine-tune", median["fine-tune"] * 1000, "ms")
    report.add("ratio, explain to fine-tune", median["explain"] / median["fine-tune"], "x")
    report.add("text of the trees", len(text), "bytes")
    report.add("ratio, with counts to without", len(text) / len(lean), "x")
    report.add("parsing it", median["parse"] * 1000, "ms")
    report.add("ratio, parsing with counts to without", median["parse"] / median["parse lean"], "x")
    report.add("adapted booster and its contributions", median["adapted"] * 1000, "ms")
    if adapters:
        first, signs = agreement(model, adapters, text)
        report.add("adapted answers compared", len(adapters), "")
        report.add("same first group", first, "share")
        report.add("same sign", signs, "share")
    report.show(as_json=chosen.json)


def processor_seconds(work: Callable[[], object]) -> float:
    """Time of the processor in one call, which other programs on the machine do not lengthen much."""
    started = time.process_time()
    work()
    return time.process_time() - started


def train(rows: Rows, row_limit: int) -> HybridModel:
    """A base on the newest rows."""
    as_of = rows.times[-1].to_pydatetime() + timedelta(minutes=1)
    model, _ = training.train_base(
        rows, symbol="BENCH", kind="base", row_limit=row_limit, week=0, as_of=as_of, num_threads=1
    )
    return model


def without_counts(trees: str) -> str:
    """The text as it was before counts were kept."""
    kept, training.ONLY_FOR_TRAINING = training.ONLY_FOR_TRAINING, COUNTS
    try:
        return training.lean_text(trees)
    finally:
        training.ONLY_FOR_TRAINING = kept


def adapted_models(model: HybridModel, rows: Rows, count: int) -> list[tuple[HybridModel, Rows]]:
    """Adapted models and the rows they answer, a hundred minutes apart; without those whose base stays."""
    found = []
    for end in range(len(rows) - 100 * (count - 1), len(rows) + 1, 100):
        seen = hide_unknown(rows.take(slice(0, end)).last(MAXIMUM_FINE_TUNE_ROWS + 100))
        trial = fine_tune(model, seen, count=MAXIMUM_FINE_TUNE_ROWS, as_of=model.base.as_of)
        if trial.adapter.leaf_values is not None:
            found.append((model.with_adapter(trial.adapter), seen.latest()))
    return found


def adapted_booster(trees: str, leaf_values: np.ndarray) -> lightgbm.Booster:
    """A booster with other leaf values, set one by one as LightGBM offers it."""
    booster = lightgbm.Booster(model_str=trees)
    leaves = [int(line.removeprefix("num_leaves=")) for line in trees.splitlines() if line.startswith("num_leaves=")]
    for tree, count in enumerate(leaves):
        for leaf in range(count):
            booster.set_leaf_output(tree, leaf, float(leaf_values[tree, leaf]))
    return booster


def agreement(base: HybridModel, adapters: list[tuple[HybridModel, Rows]], text: str) -> tuple[float, float]:
    """Shares of answers with the same first group, and of groups with the same sign."""
    first, signs = [], []
    for adapted, row in adapters:
        answered = int(adapted.probabilities(row.features)[0].argmax())
        ours = contributions(base, row.features, answered)
        assert adapted.adapter is not None and adapted.adapter.leaf_values is not None
        exact_base = HybridModel(replace(base.base))
        vars(exact_base.base)["booster"] = adapted_booster(text, adapted.adapter.leaf_values)
        exact = {group.group: group for group in contributions(exact_base, row.features, answered)}
        first.append(ours[0].group == max(exact.values(), key=lambda group: abs(group.towards_nats)).group)
        signs += [group.towards_nats * exact[group.group].towards_nats >= 0 for group in ours]
    assert len(signs) == len(first) * len(GROUPS)
    return float(np.mean(first)), float(np.mean(signs))


if __name__ == "__main__":
    main()
