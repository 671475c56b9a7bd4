"""What would make fine-tuning better: other adapters to a weekly base, walk-forward on one series.

Measured: bases of `--rows` rows on Sundays; every `--every_minutes` each method adapts the base to the
newest rows whose outcome is known, and the rows of the next hour say what it gained over the base.
`left for judging`: how many of the newest rows the adapter was not fitted on; they decide how far it goes
(`choose_step`), as in use. With none left it goes all the way.
How to read it: mean gain in nats with a 90 % interval over whole days, and the worst week.
Method "forest kernel": all leaves move at once by gradient steps to the most probable correction under
a Gaussian process whose kernel is how many leaves two rows share (Davies and Ghahramani, "The random
forest kernel", 2014); "offsets": ridge offsets of the class scores alone.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from common import Report, options, show_progress, some_bars
from numpy.typing import NDArray
from scipy.sparse import csr_matrix

from hybrid_ml.evaluation.outcome_metrics import interval
from hybrid_ml.learning.comparison import compare
from hybrid_ml.learning.evaluation import log_losses
from hybrid_ml.learning.fine_tuning import DECAY, JUDGING_ROWS, REFIT_L2, choose_step, refit_leaves
from hybrid_ml.learning.model import CLASS_COUNT, HybridModel, softmax, sum_leaves
from hybrid_ml.learning.rows import EMBARGO_BARS, Rows, make_window
from hybrid_ml.learning.training import fit_base
from hybrid_ml.market.bars import MAX_GAP_MINUTES, to_grid
from hybrid_ml.market.leaders import make_leader_bars

HOUR = 60
LEADER = "the leader"
Scores = NDArray[np.float64]


@dataclass(frozen=True)
class Moment:
    """What a method may look at: leaves of rows to fit on and their labels, leaves of rows to answer."""

    leaf_values: NDArray[np.float64]
    fitted: NDArray[np.intp]
    labels: NDArray[np.int64]
    questions: NDArray[np.intp]


Method = Callable[[Moment], Scores]


@dataclass(frozen=True)
class Known:
    """Leaves and labels of all rows; places of those whose outcome is known, and of those to answer."""

    leaves: NDArray[np.intp]
    labels: NDArray[np.int64]
    rows: NDArray[np.intp]
    request: NDArray[np.intp]


def refit(decay: float = DECAY, lambda_l2: float = REFIT_L2) -> Method:
    def scores(now: Moment) -> Scores:
        values = refit_leaves(
            now.leaf_values, now.fitted, now.labels, learning_rate=0.05, lambda_l2=lambda_l2, decay=decay
        )
        return sum_leaves(values, now.questions)

    return scores


def forest_kernel(variance: float, weight: float, rounds: int = 20) -> Method:
    """`variance` of the correction beforehand, squared nats; `weight`: what one of the overlapping rows counts."""

    def scores(now: Moment) -> Scores:
        width, trees = now.leaf_values.shape[1], now.leaf_values.shape[0] // CLASS_COUNT

        def table(leaves: NDArray[np.intp], place: int) -> csr_matrix:
            where = leaves[:, place::CLASS_COUNT] + np.arange(trees) * width
            ends = np.arange(0, where.size + 1, trees)
            return csr_matrix((np.ones(where.size), where.ravel(), ends), shape=(len(leaves), trees * width))

        fitted, requested = (
            [table(part, place) for place in range(CLASS_COUNT)] for part in (now.fitted, now.questions)
        )
        base, truth = sum_leaves(now.leaf_values, now.fitted), np.eye(CLASS_COUNT)[now.labels]
        precision = trees / variance
        step = 1 / (precision + 0.075 * weight * len(truth) * trees)
        moved, speed = (np.zeros((CLASS_COUNT, trees * width)) for _ in range(2))
        for _ in range(rounds):
            correction = np.column_stack([item @ values for item, values in zip(fitted, moved, strict=True)])
            left = weight * (truth - softmax(base + correction))
            slope = np.stack([item.T @ left[:, place] for place, item in enumerate(fitted)]) - precision * moved
            speed = 0.85 * speed + step * slope
            moved = moved + speed
        correction = np.column_stack([item @ values for item, values in zip(requested, moved, strict=True)])
        return sum_leaves(now.leaf_values, now.questions) + correction

    return scores


def offsets(variance: float, weight: float) -> Method:
    def scores(now: Moment) -> Scores:
        base, truth = sum_leaves(now.leaf_values, now.fitted), np.eye(CLASS_COUNT)[now.labels]
        offset = np.zeros(CLASS_COUNT)
        for _ in range(15):
            chance = softmax(base + offset)
            curvature = weight * (chance * (1 - chance)).sum(axis=0) + 1 / variance
            offset = offset + 0.7 * (weight * (truth - chance).sum(axis=0) - offset / variance) / curvature
        return sum_leaves(now.leaf_values, now.questions) + offset

    return scores


METHODS: dict[str, tuple[Method, int, int]] = {
    f"in use: refit, decay {DECAY}": (refit(), 1_000, JUDGING_ROWS),
    "none left for judging": (refit(), 1_000, 0),
    "decay 0.95": (refit(decay=0.95), 1_000, JUDGING_ROWS),
    "decay 0.9": (refit(decay=0.9), 1_000, JUDGING_ROWS),
    "decay 0.8": (refit(decay=0.8), 1_000, JUDGING_ROWS),
    "L2 5": (refit(lambda_l2=5.0), 1_000, JUDGING_ROWS),
    "500 rows": (refit(), 500, JUDGING_ROWS),
    "2,000 rows": (refit(), 2_000, JUDGING_ROWS),
    "forest kernel, variance 0.1": (forest_kernel(0.1, 0.1), 1_000, 0),
    "offsets": (offsets(0.1, 0.1), 1_000, 0),
}
"""Each with how many rows it looks at, and how many of the newest are left for judging."""


def gain(method: Method, base: HybridModel, known: Known, looked_at: int, left: int) -> NDArray[np.float64]:
    """What the method gains over the base on each requested row, nats, (n,)."""
    temperature, window = base.base.temperature, known.rows[-looked_at:]
    fitted, judged = (window[: -left - EMBARGO_BARS], window[-left:]) if left else (window, window[:0])
    asked = np.concatenate([judged, known.request])
    values, leaves, labels = base.base.leaf_values, known.leaves, known.labels
    found = method(Moment(values, leaves[fitted], labels[fitted], leaves[asked])) / temperature
    before = sum_leaves(values, leaves[asked]) / temperature
    unseen = compare(*(log_losses(scores[:left], labels[judged]) for scores in (before, found))) if left else None
    moved = before + (choose_step(unseen) if unseen else 1.0) * (found - before)
    return log_losses(before[left:], labels[known.request]) - log_losses(moved[left:], labels[known.request])


def week(rows: Rows, sunday: pd.Timestamp, count: int, every: int, threads: int) -> tuple[dict[str, Any], Any]:
    """Gains of every method in nats a row, (n,), over the week after a Sunday, and the days of the rows."""
    show_progress(f"{sunday:%Y-%m-%d}: training, then {len(METHODS)} methods every {every} minutes of a week")
    begin, end = (int(rows.times.searchsorted(sunday + pd.Timedelta(days=days))) for days in (0, 7))
    model, _ = fit_base(
        rows.take(slice(max(0, begin - 2 * count), begin - EMBARGO_BARS)),
        symbol="BENCH", kind="base", row_limit=count, week=0, as_of=sunday.to_pydatetime(), num_threads=threads,
        leaders=list(rows.leader_features),
    )  # fmt: skip
    near = rows.take(slice(max(0, begin - 4_000), end))
    leaves, labels = model.leaves_of(near, threads), near.labels(model.base.label_threshold)
    gains, days = {name: [] for name in METHODS}, []
    for now in range(begin - max(0, begin - 4_000), len(near), every):
        known = np.flatnonzero(labels[: now - EMBARGO_BARS] >= 0)
        request = now + np.flatnonzero(labels[now : now + HOUR] >= 0)
        if len(known) < 500 or not len(request):
            continue
        for name, (method, looked_at, left) in METHODS.items():
            gains[name].append(gain(method, model, Known(leaves, labels, known, request), looked_at, left))
        days.append(near.times[request].floor("D").to_numpy())
    return {name: np.concatenate(parts) for name, parts in gains.items()}, np.concatenate(days)


def main() -> None:
    smallest = {"start": "2024-11-24", "bars": 18_000, "rows": 2_000, "every_minutes": 5_040, "threads": 1}
    parser = options(__doc__, smallest=smallest)
    parser.add_argument("--leader_path", type=Path, help="bars of a leader; with --csv_path")
    parser.add_argument("--bars", type=int, default=300_000, help="simulated bars")
    parser.add_argument("--start", default="2024-06-02", help="first Sunday, e.g. 2018-03-04")
    parser.add_argument("--sundays", type=int, default=1)
    parser.add_argument("--every", type=int, default=12, help="weeks from one Sunday to the next")
    parser.add_argument("--every_minutes", type=int, default=720)
    parser.add_argument("--rows", type=int, default=23_000)
    parser.add_argument("--threads", type=int, default=2)
    chosen = parser.parse_args()
    window = make_window(some_bars(2_000_000 if chosen.csv_path else chosen.bars, chosen.csv_path), MAX_GAP_MINUTES)
    if chosen.leader_path:
        leader = make_leader_bars(to_grid(some_bars(2_000_000, chosen.leader_path), MAX_GAP_MINUTES))
        window = window.with_leaders({LEADER: leader})
    rows = window.rows
    first = pd.Timestamp(chosen.start, tz="UTC")
    weeks = [
        week(rows, first + pd.Timedelta(weeks=number * chosen.every), chosen.rows, chosen.every_minutes, chosen.threads)
        for number in range(chosen.sundays)
    ]
    days = np.concatenate([item for _, item in weeks])
    report, text = Report(f"adapters: {len(weeks)} weeks, an adaptation each {chosen.every_minutes} minutes"), []
    for name, (_, looked_at, left) in METHODS.items():
        parts = [gains[name] for gains, _ in weeks]
        gain = np.concatenate(parts)
        low, high = interval(gain, days)
        text.append(
            {
                "method": name,
                "rows": looked_at,
                "left for judging": left,
                "gain": round(float(gain.mean()), 4),
                "from": round(low, 4),
                "to": round(high, 4),
                "worst week": round(min(float(part.mean()) for part in parts), 4),
            }
        )
    report.add("gain of the method in use over the base", text[0]["gain"], "nats")
    report.tables["log loss under that of the base, nats"] = text
    report.show(as_json=chosen.json)


if __name__ == "__main__":
    main()
