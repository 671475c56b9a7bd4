"""Baselines: guesses, a simple model, and bases on other windows, for the cycles of a replayed week.

Each baseline answers the same cycles as the service, with no later information, and is judged against one
label threshold per week, that of the model in use at the beginning of the week.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from hybrid_ml.learning.model import CLASS_COUNT, HybridModel
from hybrid_ml.learning.rows import EMBARGO_BARS, Rows
from hybrid_ml.learning.scaling import (
    FIRST_ROW_LIMIT,
    FULL_ROW_LIMIT,
    MAXIMUM_CALIBRATION_ROWS,
    MAXIMUM_HOLD_OUT_ROWS,
)
from hybrid_ml.learning.training import split_rows
from hybrid_ml.market.labels import CLASSES, FLAT, label
from hybrid_ml.replay import baseline_models
from hybrid_ml.replay.history import Past

BaselineKind = Literal["rivals", "baselines"]
"""Of bases on other windows, and of the others; files of finished weeks have these names."""
ROW_LIMITS = (FIRST_ROW_LIMIT, FULL_ROW_LIMIT)
FEWEST_ROWS_FOR_LIMITS = 30_000
"""With fewer rows before a week both row limits would train on nearly the same."""
PROBABILITY_COLUMNS = [f"p_{name}" for name in CLASSES]
PRIOR_COLUMNS = [f"prior_{name}" for name in CLASSES]
COLUMNS = ["method", "bar_time", "threshold", "outcome", *PROBABILITY_COLUMNS, *PRIOR_COLUMNS]
"""A row per method and bar; bar_time in UTC, outcome a class name or None, probabilities add to 1."""


@dataclass(frozen=True)
class Week:
    """A replayed week as its baselines need it.

    `answers`: the service's (a row a cycle, see `Service.cycle`), at least one; `row_limit`: of the
    weekly training; `champion`: the base that served at the end, for it may be the weekly one.
    """

    number: int
    begins: datetime
    row_limit: int
    answers: pd.DataFrame
    champion: HybridModel | None
    num_threads: int

    @property
    def leaders(self) -> tuple[str, ...]:
        """The leaders of the base that served at the end, which the other methods see as well."""
        return self.champion.base.leaders if self.champion else ()

    @property
    def threshold(self) -> float:
        """The label threshold of the model that served first."""
        return float(self.answers["threshold"].iloc[0])

    def weekly_base(self, row_limit: int) -> HybridModel | None:
        """The weekly base, if it is at hand and equals the baseline of `row_limit`."""
        if self.champion is None:
            return None
        base = self.champion.base
        same = (base.kind, base.as_of, base.row_limit) == ("base", self.begins, row_limit)
        return self.champion if same and base.label_threshold == self.threshold else None


@dataclass(frozen=True)
class BaselineTask:
    """Work for one worker: `function(*arguments)` answers every cycle of the week by a method."""

    week: int
    part: BaselineKind
    method: str
    function: Callable[..., NDArray[np.float64]]
    arguments: tuple[Any, ...]


@dataclass(frozen=True)
class BaselineAnswers:
    """The result of a task: probabilities (cycles, 3)."""

    week: int
    part: BaselineKind
    method: str
    probabilities: NDArray[np.float64]


def answer(piece: BaselineTask) -> BaselineAnswers:
    """Do the work."""
    return BaselineAnswers(piece.week, piece.part, piece.method, piece.function(*piece.arguments))


def sunday_rows(past: Past, week: Week, row_limit: int) -> Rows:
    """Labelled rows known at the week's beginning, as many as a base of `row_limit` is made from."""
    needed = row_limit + MAXIMUM_CALIBRATION_ROWS + MAXIMUM_HOLD_OUT_ROWS + 3 * EMBARGO_BARS
    return past.labelled_rows(week.begins, needed).following(week.leaders)


def answer_features(past: Past, week: Week) -> NDArray[np.float32]:
    """Features (cycles, k) of the newest bar of each answer, the leaders' included."""
    return past.rows.take(past.rows.times.get_indexer(pd.DatetimeIndex(week.answers["bar_time"]))).matrix(week.leaders)


def row_limit_pieces(past: Past, week: Week) -> Iterator[BaselineTask]:
    """Bases on the smallest and on the full window; none if there are too few rows to differ."""
    if len(sunday_rows(past, week, FULL_ROW_LIMIT)) < FEWEST_ROWS_FOR_LIMITS:
        return
    request = answer_features(past, week)
    for limit in ROW_LIMITS:
        rows = sunday_rows(past, week, limit)
        arguments = (week.weekly_base(limit), rows, limit, week.threshold, week.leaders, request, week.num_threads)
        yield BaselineTask(week.number, "rivals", f"{limit:,} rows", baseline_models.predict_base, arguments)


def baseline_pieces(past: Past, week: Week) -> Iterator[BaselineTask]:
    """A logistic regression, which takes longest, and guesses."""
    answers, threshold = week.answers, week.threshold
    rows = sunday_rows(past, week, week.row_limit)

    def piece(method: str, function: Callable[..., Any], *arguments: Any) -> BaselineTask:
        return BaselineTask(week.number, "baselines", method, function, arguments)

    training, _, _ = split_rows(rows, week.row_limit)
    known = training.matrix(week.leaders), training.labels(threshold)
    yield piece("logistic regression", baseline_models.predict_logistic, *known, answer_features(past, week))
    most = np.bincount(training.labels(threshold), minlength=CLASS_COUNT).argmax()
    before = label(answers["previous_return"].to_numpy(dtype=np.float64), threshold)
    yield piece("class prior", baseline_models.stated, answers[PRIOR_COLUMNS].to_numpy(dtype=np.float64))
    yield piece("majority", baseline_models.stated, np.eye(CLASS_COUNT)[np.full(len(answers), most)])
    yield piece("persistence", baseline_models.stated, np.eye(CLASS_COUNT)[np.where(before < 0, FLAT, before)])


def frame(week: Week, answered: Iterable[BaselineAnswers]) -> pd.DataFrame:
    """COLUMNS, a row a method and cycle: outcomes against the week's threshold, priors of the model in use."""
    parts = [empty_frame()]
    outcomes = label(week.answers["forward_return"].to_numpy(dtype=np.float64), week.threshold)
    for piece in answered:
        part = week.answers[["bar_time", *PRIOR_COLUMNS]].assign(
            method=piece.method,
            threshold=week.threshold,
            outcome=np.array([*CLASSES, None], dtype=object)[outcomes],
            **dict(zip(PROBABILITY_COLUMNS, piece.probabilities.T, strict=True)),
        )
        parts.append(part[COLUMNS])
    return pd.concat([part for part in parts if len(part)] or parts, ignore_index=True)


def empty_frame() -> pd.DataFrame:
    """No row, with every column."""
    return pd.DataFrame(columns=COLUMNS)
