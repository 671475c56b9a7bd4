"""What would make the base better: other ways to train it, walk-forward on Sundays of one series.

Measured: for each Sunday each variant is trained on the newest `--rows` labelled rows known then, and
answers every minute of the week that follows. How to read it: skill in nats under the class prior,
and its two parts, whether the price moves at all (moves) and where to (direction); the gain beside
the variant in use is paired minute by minute, with a 90 % interval over whole days. Simulated bars
only show that it runs: the market they come from has no secrets. Give real ones with --csv_path.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import lightgbm
import numpy as np
import pandas as pd
from candidates import CANDIDATES, candidate_features
from common import Report, options, show_progress, some_bars
from numpy.typing import NDArray

from hybrid_ml.evaluation.outcome_metrics import interval, precision_at
from hybrid_ml.learning.model import softmax
from hybrid_ml.learning.reliability import calibration_error
from hybrid_ml.learning.rows import EMBARGO_BARS, Window, make_window
from hybrid_ml.learning.training import BOOSTING_ROUNDS, PARAMETERS
from hybrid_ml.market.bars import MAX_GAP_MINUTES, to_grid
from hybrid_ml.market.labels import FLAT, FLAT_SHARE, UP, flat_threshold, label
from hybrid_ml.market.leaders import blank_some, make_leader_bars, mirror_all


@dataclass(frozen=True)
class Variant:
    """One way to train. `mirrored`: no row, every other one, or each one once more upside down."""

    parameters: dict[str, Any] = field(default_factory=dict)
    mirrored: str = "every other"
    half_life_rows: int | None = None
    candidates: tuple[str, ...] = ()
    withheld_rows: int = 0
    """The newest ones, left out as those for calibration and the hold-out are in use."""


IN_USE = "in use"
VARIANTS = {
    IN_USE: Variant(),
    "not mirrored": Variant(mirrored="none"),
    "each row and its mirror": Variant(mirrored="each"),
    "as it was": Variant({"lambda_l2": 20.0, "feature_fraction": 0.5}, mirrored="none"),
    "15 leaves": Variant({"num_leaves": 15}),
    "63 leaves": Variant({"num_leaves": 63}),
    "250 rows a leaf": Variant({"min_data_in_leaf": 250}),
    "500 rows a leaf": Variant({"min_data_in_leaf": 500}),
    "1000 rows a leaf": Variant({"min_data_in_leaf": 1_000}),
    "L2 20": Variant({"lambda_l2": 20.0}),
    "L2 100": Variant({"lambda_l2": 100.0}),
    "L2 300": Variant({"lambda_l2": 300.0}),
    "half the features": Variant({"feature_fraction": 0.5}),
    "0.3 of the features": Variant({"feature_fraction": 0.3}),
    "best split points": Variant({"extra_trees": False}),
    "half the rows a tree": Variant({"bagging_fraction": 0.5, "bagging_freq": 1}),
    "boost from average": Variant({"boost_from_average": True}),
    "newest 3000 rows withheld": Variant(withheld_rows=3_000),
    "half-life 30000 rows": Variant(half_life_rows=30_000),
    "half-life 50000 rows": Variant(half_life_rows=50_000),
    **{f"with {name}": Variant(candidates=(name,)) for name in CANDIDATES},
    "with all candidates": Variant(candidates=tuple(CANDIDATES)),
}


@dataclass(frozen=True)
class Answers:
    """What a variant said of every labelled minute of the weeks after its Sundays."""

    chances: NDArray[np.float64]
    truth: NDArray[np.int64]
    prior: NDArray[np.float64]
    days: NDArray[Any]

    def skill(self) -> NDArray[np.float64]:
        return np.log(_of(self.chances, self.truth) / _of(self.prior, self.truth))

    def skill_in_moves(self) -> NDArray[np.float64]:
        chance, prior = self.chances[:, FLAT], self.prior[:, FLAT]
        return np.where(self.truth == FLAT, np.log(chance / prior), np.log((1 - chance) / (1 - prior)))


def _of(chances: NDArray[np.float64], truth: NDArray[np.int64]) -> NDArray[np.float64]:
    return chances[np.arange(len(truth)), truth]


def answer(
    variant: Variant, window: Window, training: NDArray[np.intp], requested: NDArray[np.intp], threads: int
) -> Answers:
    """Train on the rows `training`, answer the rows `requested` (places in the window)."""
    rows, training = window.rows, training[: len(training) - variant.withheld_rows]
    features = rows.matrix(list(rows.leader_features))
    mirrored, columns = mirror_all(features), features.shape[1]
    for name in variant.candidates:
        more, directed = candidate_features(name, window.grid)
        features = np.concatenate([features, more], axis=1)
        mirrored = np.concatenate([mirrored, -more if directed else more], axis=1)
    threshold = flat_threshold(rows.forward_returns[training], FLAT_SHARE)
    truth = label(rows.forward_returns[training], threshold)
    shares = (np.bincount(truth, minlength=3) + 1) / (len(truth) + 3)
    learnt, known, age = features[training], truth, np.arange(len(training))[::-1]
    if variant.mirrored == "each":
        learnt, age = np.concatenate([learnt, mirrored[training]]), np.concatenate([age, age])
        known = np.concatenate([known, UP - truth])
    elif variant.mirrored == "every other":
        other = np.arange(len(training)) % 2 == 1
        learnt = np.where(other[:, None], mirrored[training], learnt)
        known = np.where(other, UP - truth, truth)
    learnt[:, :columns] = blank_some(learnt[:, :columns])
    weights = None if variant.half_life_rows is None else 0.5 ** (age / variant.half_life_rows)
    parameters = {**PARAMETERS, **variant.parameters, "num_threads": threads}
    weights = None if weights is None else weights / weights.mean()
    booster = lightgbm.train(
        parameters, lightgbm.Dataset(learnt, known, weight=weights), num_boost_round=BOOSTING_ROUNDS
    )
    scores = np.asarray(booster.predict(features[requested], raw_score=True, num_threads=threads))
    return Answers(
        chances=softmax(scores),
        truth=label(rows.forward_returns[requested], threshold),
        prior=np.tile(shares, (len(requested), 1)),
        days=rows.times[requested].floor("D").to_numpy(),
    )


def sundays(window: Window, start: str, count: int, every: int, rows: int) -> Iterator[tuple[NDArray, NDArray]]:
    """Places of training rows and of the week that follows, for each Sunday."""
    times, known = window.rows.times, np.isfinite(window.rows.forward_returns)
    for number in range(count):
        sunday = pd.Timestamp(start, tz="UTC") + pd.Timedelta(weeks=number * every)
        begin, end = (int(times.searchsorted(sunday + pd.Timedelta(days=days))) for days in (0, 7))
        training = np.flatnonzero(known[: max(0, begin - EMBARGO_BARS - 1)])[-rows:]
        request = begin + np.flatnonzero(known[begin:end])
        if len(training) and len(request):
            yield training, request


def joined(parts: list[Answers]) -> Answers:
    return Answers(*(np.concatenate([getattr(part, name) for part in parts]) for name in Answers.__annotations__))


def measures(name: str, found: Answers, used: Answers) -> dict[str, Any]:
    skill, moves, gain = found.skill(), found.skill_in_moves(), found.skill() - used.skill()
    low, high = interval(gain, found.days)
    right = found.chances.argmax(axis=1) == found.truth
    return {
        "variant": name,
        "skill": round(float(skill.mean()), 4),
        "moves": round(float(moves.mean()), 4),
        "direction": round(float((skill - moves).mean()), 4),
        "gain": round(float(gain.mean()), 4),
        "from": round(low, 4),
        "to": round(high, 4),
        "accuracy": round(float(right.mean()), 3),
        "majority": round(float(np.bincount(found.truth).max() / len(right)), 3),
        "surest 1 %": round(precision_at(found.chances, found.truth, 0.01), 3),
        "calibration": round(calibration_error(found.chances, found.truth), 3),
    }


def main() -> None:
    parser = options(__doc__, smallest={"start": "2024-11-24", "bars": 16_000, "rows": 2_000, "threads": 1})
    parser.add_argument("--leader_path", type=Path, help="bars of a leader; with --csv_path")
    parser.add_argument("--bars", type=int, default=300_000, help="simulated bars")
    parser.add_argument("--start", default="2024-06-02", help="first Sunday, e.g. 2018-03-04")
    parser.add_argument("--sundays", type=int, default=1)
    parser.add_argument("--every", type=int, default=12, help="weeks from one Sunday to the next")
    parser.add_argument("--rows", type=int, default=23_000)
    parser.add_argument(
        "--variants", default=f"{IN_USE},not mirrored", help=f"comma separated, of: {'; '.join(VARIANTS)}"
    )
    parser.add_argument("--threads", type=int, default=2)
    chosen = parser.parse_args()
    names = list(dict.fromkeys([IN_USE, *chosen.variants.split(",")]))
    unknown = [name for name in names if name not in VARIANTS]
    if unknown:
        parser.error(f"no variant {', '.join(unknown)}; there are: {'; '.join(VARIANTS)}")
    window = make_window(some_bars(2_000_000 if chosen.csv_path else chosen.bars, chosen.csv_path), MAX_GAP_MINUTES)
    if chosen.leader_path:
        leader = make_leader_bars(to_grid(some_bars(2_000_000, chosen.leader_path), MAX_GAP_MINUTES))
        window = window.with_leaders({"the leader": leader})
    splits = list(sundays(window, chosen.start, chosen.sundays, chosen.every, chosen.rows))
    found = {}
    for name in names:
        show_progress(f"{name}: training {len(splits)} times on {chosen.rows:,} rows")
        found[name] = joined([answer(VARIANTS[name], window, *split, chosen.threads) for split in splits])
    report = Report(f"ways to train: {len(splits)} Sundays, {chosen.rows:,} rows each")
    table = [measures(name, answers, found[IN_USE]) for name, answers in found.items()]
    report.add("skill of the variant in use under the class prior", table[0]["skill"], "nats")
    report.tables["log loss under the class prior, nats"] = table
    report.show(as_json=chosen.json)


if __name__ == "__main__":
    main()
