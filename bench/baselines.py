"""Baselines: the service's own answers beside two other ways of keeping a model fresh, on the same cycles.

Measured: a replay of `--cycles` cycles, one every ten minutes, after a weekly training of `--rows` rows at
`--start`, and what two others answer at the same moments. "daily retrain" is a larger model with LightGBM's
defaults, trained anew each midnight on 30 days, as in the example configuration of FreqAI. "chained updates"
adds ten rounds to the weekly base every cycle, on the newest 1,000 labelled rows, and is never reset. How to
read it: all are judged by the label threshold of the weekly base; skill is log loss below that of its class
prior, in nats, more is better; skill_lead is how far the service is ahead of a method. Cross-checked: chained
answers are those of `lightgbm.train(init_model=...)`, and no label of a training row was known too late.
"""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import lightgbm
import numpy as np
import pandas as pd
from common import Report, cross_check, options, seconds, show_progress, some_bars
from numpy.typing import NDArray

from hybrid_ml.learning.model import CLASS_COUNT, HybridModel, softmax
from hybrid_ml.learning.rows import Rows, labels_known_at
from hybrid_ml.learning.training import PARAMETERS
from hybrid_ml.market.bars import MAX_GAP_MINUTES
from hybrid_ml.replay.baselines import BaselineAnswers, Week, answer_features, frame
from hybrid_ml.replay.engine import ReplayedService, train
from hybrid_ml.replay.history import CycleView, Past
from hybrid_ml.replay.method_comparison import compare_methods
from hybrid_ml.schemas.requests import AnalysisRequest

SYMBOL = "BENCH"
CYCLE = timedelta(minutes=10)
DAILY_DAYS = 30
DAILY_PARAMETERS: dict[str, Any] = {
    "objective": "multiclass",
    "num_class": CLASS_COUNT,
    "learning_rate": 0.02,
    "deterministic": True,
    "force_col_wise": True,
    "seed": 7,
    "verbosity": -1,
}
"""LightGBM's defaults otherwise, as in the example configuration of FreqAI (n_estimators 800, learning_rate 0.02)."""
CHAINED_ROUNDS = 10
CHAINED_ROWS = 1_000
# The base's 500 rows a leaf would be half of the window: hardly a tree would split, and nothing be learnt.
CHAINED_PARAMETERS = {**PARAMETERS, "min_data_in_leaf": 100, "num_threads": 1}
"""One thread: 1,000 rows are done before a second one wakes up."""
CHECKED_CYCLES = 3


def daily_windows(past: Past, answers: pd.DataFrame) -> Iterator[tuple[NDArray[np.intp], Rows]]:
    """For each UTC day the places of its answers, and the labelled rows of the 30 days before its midnight."""
    days = answers["as_of"].dt.floor("D")
    for day in days.unique():
        known = past.labelled_rows(day.to_pydatetime(), DAILY_DAYS * 1_440).newer_than(day - timedelta(days=DAILY_DAYS))
        cross_check(labels_known_at(known) <= day.to_pydatetime(), "a day's model knows nothing of its day")
        yield np.flatnonzero(days == day), known


def daily(past: Past, week: Week, rounds: int) -> NDArray[np.float64]:
    """P(down), P(flat), P(up) of models trained each midnight, (answers, 3)."""
    probabilities, features = np.empty((len(week.answers), CLASS_COUNT)), answer_features(past, week)
    for places, known in daily_windows(past, week.answers):
        data = lightgbm.Dataset(known.features, known.labels(week.threshold))
        booster = lightgbm.train({**DAILY_PARAMETERS, "num_threads": week.num_threads}, data, num_boost_round=rounds)
        probabilities[places] = booster.predict(features[places], num_threads=week.num_threads)
    return probabilities


def newest_labelled(past: Past, view: CycleView, threshold: float) -> tuple[NDArray[np.intp], NDArray[np.int8]]:
    """Places among all rows of the newest rows whose labels were known then, and the labels."""
    labels = past.batch([view], None, ()).rows_of(view.since(view.seen.start)).labels(threshold)
    known = np.flatnonzero(labels >= 0)[-CHAINED_ROWS:]
    return known + view.seen.start, labels[known]


def chained(past: Past, week: Week, views: list[CycleView], model: HybridModel) -> NDArray[np.float64]:
    """P(down), P(flat), P(up) of the base with ten more rounds a cycle, (answers, 3).

    What `lightgbm.train(init_model=...)` does, whose trees see the old model only as scores to start
    from: scores are kept row by row, and only those of the new trees are added.
    """
    begins, ends = views[0].seen.start, views[-1].seen.stop
    features = past.rows.features[begins:ends]
    scores = np.asarray(model.base.booster.predict(features, raw_score=True, num_threads=week.num_threads))
    probabilities = np.empty((len(views), CLASS_COUNT))
    for cycle, view in enumerate(views):
        places, labels = newest_labelled(past, view, week.threshold)
        data = lightgbm.Dataset(past.rows.features[places], labels, init_score=scores[places - begins])
        newer = lightgbm.train(CHAINED_PARAMETERS, data, num_boost_round=CHAINED_ROUNDS)
        first = view.seen.start - begins  # cycles to come look at no row before this one's first
        scores[first:] += np.asarray(newer.predict(features[first:], raw_score=True, num_threads=1))
        probabilities[cycle] = softmax(scores[view.seen.stop - 1 - begins])
    return probabilities


def same_as_init_model(
    past: Past, week: Week, views: list[CycleView], model: HybridModel, probabilities: NDArray[np.float64]
) -> bool:
    """Whether LightGBM's own way of going on from a model gives the same, in the first cycles."""
    booster = model.base.booster
    for cycle, view in enumerate(views[:CHECKED_CYCLES]):
        places, labels = newest_labelled(past, view, week.threshold)
        cross_check(labels_known_at(past.rows.take(places)) <= view.now, "a cycle learns from known labels alone")
        data = lightgbm.Dataset(past.rows.features[places], labels)
        booster = lightgbm.train(CHAINED_PARAMETERS, data, num_boost_round=CHAINED_ROUNDS, init_model=booster)
        newest = past.rows.features[view.seen.stop - 1 : view.seen.stop]
        if not np.allclose(
            softmax(np.asarray(booster.predict(newest, raw_score=True)))[0], probabilities[cycle], atol=1e-9
        ):
            return False
    return True


def main() -> None:
    parser = options(__doc__, smallest={"rows": 2_000, "cycles": 12, "rounds": 10, "threads": 1})
    parser.add_argument("--start", help="the weekly training, UTC; unset: so that the cycles end with the bars")
    parser.add_argument("--rows", type=int, default=23_000, help="of the weekly training")
    parser.add_argument("--cycles", type=int, default=1_008, help="a week has 1,008")
    parser.add_argument("--rounds", type=int, default=800, help="of a day's model")
    parser.add_argument("--threads", type=int, default=2)
    chosen = parser.parse_args()
    bars = some_bars(10**9 if chosen.csv_path else 43_200 + 10 * chosen.cycles, chosen.csv_path)
    start = bars["time"].iloc[-1].floor("10min").to_pydatetime() - (chosen.cycles + 1) * CYCLE
    if chosen.start:
        start = datetime.fromisoformat(chosen.start).replace(tzinfo=UTC)
    bars = bars[bars["time"] < start + (chosen.cycles + 2) * CYCLE].reset_index(drop=True)
    past = Past(bars, MAX_GAP_MINUTES)
    show_progress("training the base and replaying the service")
    trained = train(past, SYMBOL, "base", start, 0, chosen.rows, chosen.threads)
    request = AnalysisRequest(symbols=[SYMBOL], disable_sleep_window=True)
    service = ReplayedService(SYMBOL, request, lambda _: (0, chosen.rows), chosen.threads)
    service.weekly(trained)
    rows: list[dict[str, Any]] = []
    moments = [start + cycle * CYCLE for cycle in range(chosen.cycles)]
    own_seconds = seconds(lambda: rows.extend(row for row in service.cycles(past, moments) if row is not None))
    week = Week(0, start, chosen.rows, pd.DataFrame(rows), None, chosen.threads)
    views = [past.view_at(moment.to_pydatetime(), CHAINED_ROWS) for moment in week.answers["as_of"]]
    views = [view for view in views if view is not None]

    probabilities: dict[str, NDArray[np.float64]] = {}
    methods = {
        "daily retrain": lambda: daily(past, week, chosen.rounds),
        "chained updates": lambda: chained(past, week, views, trained.model),
    }
    report = Report(f"baselines: {len(rows):,} answers from {start:%Y-%m-%d %H:%M} on, base of {chosen.rows:,} rows")
    report.add("hybrid-ml, a cycle", own_seconds / len(rows) * 1000, "ms")
    for name, work in methods.items():
        show_progress(name)
        taken_seconds = seconds(lambda name=name, work=work: probabilities.update({name: work()}))
        report.add(f"{name}, a cycle", taken_seconds / len(rows) * 1000, "ms")
    same = same_as_init_model(past, week, views, trained.model, probabilities["chained updates"])
    cross_check(same, "chained updates answer as LightGBM's init_model does")
    answered = [BaselineAnswers(0, "baselines", name, of_method) for name, of_method in probabilities.items()]
    shown = ("method", "rows", "accuracy", "log_loss", "skill", "skill_lead", "calibration_error")
    compared = compare_methods(week.answers, frame(week, answered))
    report.tables["methods"] = [{name: record.get(name) for name in shown} for record in compared]
    report.show(as_json=chosen.json)


if __name__ == "__main__":
    main()
