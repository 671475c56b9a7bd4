"""Training: what a weekly training computes, against LightGBM alone.

Measured: everything from bars in memory to a packed model, namely grid, features, labels, quality
counts, 300 rounds of boosting, the judgement on the hold-out, packing and sealing. Floor: bare
`lightgbm.train`, Dataset construction included, on the very matrix, labels, parameters and threads.
Both must give the same trees. How to read it: ratio 1.10 means that everything around LightGBM
costs a tenth of what LightGBM costs. On two threads LightGBM itself becomes many times slower as
soon as anything else wants a core, and runs cannot be compared any more; the last ratio, of the
whole to the boosting inside the same runs, and `--threads 1` stand that better.
"""

import statistics
import time
from typing import Any
from unittest.mock import patch

import numpy as np
import pandas as pd
from common import Report, cross_check, interleaved, options, some_bars
from lightgbm import Booster

from hybrid_ml.learning import training
from hybrid_ml.learning.model import HybridModel
from hybrid_ml.learning.model_bytes import pack_file, seal
from hybrid_ml.learning.rows import EMBARGO_BARS, make_window
from hybrid_ml.learning.scaling import FULL_ROW_LIMIT, MAXIMUM_CALIBRATION_ROWS, MAXIMUM_HOLD_OUT_ROWS
from hybrid_ml.market.bars import MAX_GAP_MINUTES
from hybrid_ml.market.features import LOOK_BACK_BARS
from hybrid_ml.market.labels import FLAT_SHARE, flat_threshold
from hybrid_ml.market.quality import measure_quality
from hybrid_ml.text.counts import counted

TARGET = 1.15
SYMBOL = "BENCH"
BOOST = training.boost


def whole(bars: pd.DataFrame, rows: int, threads: int) -> HybridModel:
    """The compute of one training in the order of `flows.weekly_training.train_symbol`."""
    as_of = bars["time"].iloc[-1].to_pydatetime()
    window = make_window(bars, MAX_GAP_MINUTES)
    measure_quality(window.grid, as_of)
    model, _ = training.train_base(
        window.rows,
        symbol=SYMBOL,
        kind="base",
        row_limit=rows,
        week=0,
        as_of=as_of,
        num_threads=threads,
        on_round=lambda finished: None,  # noqa: ARG005
    )
    seal(pack_file(model))
    return model


def main() -> None:
    parser = options(__doc__, smallest={"rows": 2_000, "threads": 1, "repetitions": 1})
    parser.add_argument("--rows", type=int, default=FULL_ROW_LIMIT, help="rows to train on")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--repetitions", type=int, default=3)
    chosen = parser.parse_args()
    # As many bars as the flow would load for these rows: a tenth more, for the ends of sessions.
    needed = chosen.rows + MAXIMUM_CALIBRATION_ROWS + MAXIMUM_HOLD_OUT_ROWS + 3 * EMBARGO_BARS
    bars = some_bars(int(needed * 1.1) + LOOK_BACK_BARS, chosen.csv_path)

    labelled = make_window(bars, MAX_GAP_MINUTES).rows.labelled()
    rows, _, _ = training.split_rows(labelled, chosen.rows)
    labels = rows.labels(flat_threshold(rows.forward_returns, FLAT_SHARE))
    matrix, labels = training.mirror_every_other(rows.features, labels)
    parameters = {**training.PARAMETERS, "num_threads": chosen.threads}
    models: list[HybridModel] = []
    boosters: list[Booster] = []
    inside: list[float] = []

    def timed_boost(*given: Any) -> Booster:
        started = time.perf_counter()
        booster = BOOST(*given)
        inside.append(time.perf_counter() - started)
        return booster

    def everything() -> None:
        with patch.object(training, "boost", timed_boost):
            models.append(whole(bars, chosen.rows, chosen.threads))

    def bare() -> None:
        boosters.append(BOOST(matrix, labels, parameters))

    median = interleaved({"whole": everything, "bare": bare}, chosen.repetitions)
    leaves = [model.base.leaf_values for model in models] + [training.leaf_values(booster) for booster in boosters]
    same = all(np.array_equal(leaves[0], others) for others in leaves)
    cross_check(same, "the whole training and bare LightGBM give the same leaves, every time")
    report = Report(f"training: {len(rows):,} rows, {matrix.shape[1]} features, {counted(chosen.threads, 'thread')}")
    report.add("whole training", median["whole"], "s")
    report.add("bare lightgbm.train", median["bare"], "s")
    report.add("ratio", median["whole"] / median["bare"], "x", TARGET)
    report.add("ratio to the boosting inside it", median["whole"] / statistics.median(inside), "x", TARGET)
    report.show(as_json=chosen.json)


if __name__ == "__main__":
    main()
