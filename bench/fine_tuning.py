"""Fine-tuning: the leaf refit on cached leaves against LightGBM's own.

Measured: `refit_leaves` on leaf indices that are there already, the look-up of those leaves, and
the whole `fine_tune` (labels, leaves, refit, walk, packing). Peer: `Booster.refit` on the same rows,
labels, decay and threads, which looks the leaves up itself; both must give the same leaf values.
How to read it: the fair comparison is "leaves and refit_leaves"; the leaves are also what judging
needs, so a fine-tune looks them up once either way.
"""

from datetime import datetime, timedelta

import numpy as np
from common import Report, cross_check, interleaved, options, show_progress, some_bars
from lightgbm import Booster
from numpy.typing import NDArray

from hybrid_ml.learning import training
from hybrid_ml.learning.fine_tuning import DECAY, MAXIMUM_FINE_TUNE_ROWS, fine_tune, refit_leaves
from hybrid_ml.learning.model import HybridModel
from hybrid_ml.learning.rows import Rows, make_window
from hybrid_ml.market.bars import MAX_GAP_MINUTES

MORE_BARS = 7_000
"""Beyond the rows to train on: for the first features, the hold-out and the rows to fine-tune on."""
LARGEST_DIFFERENCE = 1e-6
"""LightGBM adds gradients up in single precision; a leaf value is of the order of 0.01."""


class Candidates:
    """Both refits of one base on one set of rows, and their parts."""

    def __init__(self, model: HybridModel, rows: Rows, count: int, threads: int) -> None:
        self.model, self.base, self.threads = model, model.base, threads
        self.recent = rows.labelled().last(count)
        self.labels = self.recent.labels(self.base.label_threshold)
        self.leaves = self.look_up()

    def look_up(self) -> NDArray[np.intp]:
        return self.model.leaves(self.recent.features, self.threads)

    def ours(self, leaves: NDArray[np.intp]) -> NDArray[np.float64]:
        learning_rate, lambda_l2 = (self.base.parameters[name] for name in ("learning_rate", "lambda_l2"))
        return refit_leaves(
            self.base.leaf_values, leaves, self.labels, learning_rate=learning_rate, lambda_l2=lambda_l2
        )

    def theirs(self) -> Booster:
        threads = {"num_threads": self.threads}
        return self.base.booster.refit(
            self.recent.features, self.labels, decay_rate=DECAY, dataset_params=threads, **threads
        )


def train(rows: Rows, training_rows: int, as_of: datetime, threads: int) -> HybridModel:
    show_progress("training the base")
    model, _ = training.train_base(
        rows,
        symbol="BENCH",
        kind="base",
        row_limit=training_rows,
        week=0,
        as_of=as_of,
        num_threads=threads,
        flat_share=1 / 3,  # with a tenth the first tree of FLAT may be a constant, which LightGBM's refit moves too
    )
    return model


def main() -> None:
    parser = options(__doc__, smallest={"training_rows": 2_000, "repetitions": 1})
    parser.add_argument("--training_rows", type=int, default=23_000, help="rows the base is trained on")
    parser.add_argument("--rows", type=int, default=MAXIMUM_FINE_TUNE_ROWS, help="rows to fine-tune on")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--repetitions", type=int, default=30)
    chosen = parser.parse_args()
    rows = make_window(some_bars(chosen.training_rows + MORE_BARS, chosen.csv_path), MAX_GAP_MINUTES).rows
    as_of = rows.times[-1].to_pydatetime() + timedelta(minutes=1)
    model = train(rows.take(slice(0, len(rows) - chosen.rows)), chosen.training_rows, as_of, chosen.threads)
    refits = Candidates(model, rows, chosen.rows, chosen.threads)

    values = refits.ours(refits.leaves)
    difference = float(np.abs(values - training.leaf_values(refits.theirs())).max())
    cross_check(difference <= LARGEST_DIFFERENCE, f"both refits give the same leaf values ({difference:.1e} apart)")
    show_progress(f"{chosen.repetitions} repetitions of each candidate")
    median = interleaved(
        {
            "cached": lambda: refits.ours(refits.leaves),
            "leaves": refits.look_up,
            "both": lambda: refits.ours(refits.look_up()),
            "theirs": refits.theirs,
            "whole": lambda: fine_tune(model, rows, count=chosen.rows, as_of=as_of, num_threads=chosen.threads),
        },
        chosen.repetitions,
    )
    size = f"{len(refits.recent):,} rows, {len(model.base.leaf_values)} trees, {chosen.threads} thread(s)"
    report = Report(f"fine-tuning: {size}")
    report.add("refit_leaves on cached leaves", median["cached"] * 1000, "ms")
    report.add("looking the leaves up", median["leaves"] * 1000, "ms")
    report.add("leaves and refit_leaves", median["both"] * 1000, "ms")
    report.add("Booster.refit", median["theirs"] * 1000, "ms")
    report.add("ratio, cached leaves", median["cached"] / median["theirs"], "x")
    report.add("ratio, leaves included", median["both"] / median["theirs"], "x")
    report.add("largest difference of leaf values", difference, "raw score")
    report.add("largest move of a leaf, for scale", float(np.abs(values - model.base.leaf_values).max()), "raw score")
    report.add("the whole fine_tune", median["whole"] * 1000, "ms")
    report.show(as_json=chosen.json)


if __name__ == "__main__":
    main()
