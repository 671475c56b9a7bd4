"""What else could have answered the cycles of a replayed week: guesses, simple models, and other ways to train.

Each rival answers the same cycles as the service did, knows at each no more than was known, and is
judged against one label threshold a week, that of the model which served at the week's beginning.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
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

Part = Literal["rivals", "baselines"]
ROW_LIMITS = (FIRST_ROW_LIMIT, FULL_ROW_LIMIT)
FEWEST_ROWS_FOR_LIMITS = 30_000
"""With fewer rows before a week both row limits would train on nearly the same."""
DAILY_WINDOW = timedelta(days=30)
DAILY_ROWS = 30 * 24 * 60
CHANCES = [f"p_{name}" for name in CLASSES]
PRIORS = [f"prior_{name}" for name in CLASSES]
COLUMNS = ["method", "bar_time", "threshold", "outcome", *CHANCES, *PRIORS]
"""Of what rivals answered: a row a method and bar; bar_time in UTC, outcome a class name or None, chances add to 1."""


@dataclass(frozen=True)
class Week:
    """A replayed week as its rivals find it.

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
    def threshold(self) -> float:
        """The label threshold of the model that served first."""
        return float(self.answers["threshold"].iloc[0])

    def weekly_base(self, row_limit: int) -> HybridModel | None:
        """The weekly base, where it is at hand and is just what a rival of `row_limit` would be."""
        if self.champion is None:
            return None
        base = self.champion.base
        same = (base.kind, base.as_of, base.row_limit) == ("base", self.begins, row_limit)
        return self.champion if same and base.label_threshold == self.threshold else None


@dataclass(frozen=True)
class Piece:
    """Work for one worker: `function(*given)` answers the `cycles` (places in the week's answers) of a method."""

    week: int
    part: Part
    method: str
    cycles: NDArray[np.intp]
    function: Callable[..., NDArray[np.float64]]
    given: tuple[Any, ...]


@dataclass(frozen=True)
class Answered:
    """What came of a piece: probabilities (cycles, 3)."""

    week: int
    part: Part
    method: str
    cycles: NDArray[np.intp]
    chances: NDArray[np.float64]


def answer(piece: Piece) -> Answered:
    """Do the work."""
    return Answered(piece.week, piece.part, piece.method, piece.cycles, piece.function(*piece.given))


def sunday_rows(past: Past, week: Week, row_limit: int) -> Rows:
    """Labelled rows known at the week's beginning, as many as a base of `row_limit` is made from."""
    needed = row_limit + MAXIMUM_CALIBRATION_ROWS + MAXIMUM_HOLD_OUT_ROWS + 3 * EMBARGO_BARS
    return past.labelled_rows(week.begins, needed)


def asked_rows(past: Past, answers: pd.DataFrame) -> NDArray[np.float32]:
    """Features (cycles, k) of the newest bar of each answer."""
    return past.rows.features[past.rows.times.get_indexer(pd.DatetimeIndex(answers["bar_time"]))]


def row_limit_pieces(past: Past, week: Week) -> Iterator[Piece]:
    """The house's own bases on its smallest and on its full window; none where there are too few rows to differ."""
    if len(sunday_rows(past, week, FULL_ROW_LIMIT)) < FEWEST_ROWS_FOR_LIMITS:
        return
    request = asked_rows(past, week.answers)
    for limit in ROW_LIMITS:
        rows = sunday_rows(past, week, limit)
        given = (week.weekly_base(limit), rows, limit, week.threshold, request, week.num_threads)
        everything = np.arange(len(week.answers))
        yield Piece(week.number, "rivals", f"{limit:,} rows", everything, baseline_models.ask_base, given)


def baseline_pieces(past: Past, week: Week) -> Iterator[Piece]:
    """Guesses, a logistic regression, and peers that retrain daily or never stop adding trees; the longest first."""
    answers, threshold, threads = week.answers, week.threshold, week.num_threads
    everything, features = np.arange(len(answers)), asked_rows(past, answers)
    rows = sunday_rows(past, week, week.row_limit)

    def piece(method: str, function: Callable[..., Any], *given: Any) -> Piece:
        return Piece(week.number, "baselines", method, everything, function, given)

    sights = [past.sight(moment.to_pydatetime(), baseline_models.CHAINED_ROWS) for moment in answers["as_of"]]
    stretch = past.stretch([sight for sight in sights if sight is not None], None)
    base = week.weekly_base(week.row_limit)
    yield piece("chained updates", baseline_models.ask_chained, base, rows, week.row_limit, threshold, stretch, threads)
    yield from daily_pieces(past, week, features)
    training, _, _ = split_rows(rows, week.row_limit)
    yield piece("logistic regression", baseline_models.ask_logistic, training, threshold, features)
    most = np.bincount(training.labels(threshold), minlength=CLASS_COUNT).argmax()
    before = label(answers["previous_return"].to_numpy(dtype=np.float64), threshold)
    yield piece("class prior", baseline_models.stated, answers[PRIORS].to_numpy(dtype=np.float64))
    yield piece("majority", baseline_models.stated, np.eye(CLASS_COUNT)[np.full(len(answers), most)])
    yield piece("persistence", baseline_models.stated, np.eye(CLASS_COUNT)[np.where(before < 0, FLAT, before)])


def daily_pieces(past: Past, week: Week, features: NDArray[np.float32]) -> Iterator[Piece]:
    """A model a day, trained at 00:00 UTC on the 30 days before, for the cycles of the day."""
    days = week.answers["as_of"].dt.floor("D")
    for day in days.unique():
        cycles = np.flatnonzero(days == day)
        training = past.labelled_rows(day.to_pydatetime(), DAILY_ROWS).newer_than(day - DAILY_WINDOW)
        given = (training, week.threshold, features[cycles], week.num_threads)
        yield Piece(week.number, "baselines", "daily retrain", cycles, baseline_models.ask_daily, given)


def frame(week: Week, answered: Iterable[Answered]) -> pd.DataFrame:
    """COLUMNS, a row a method and cycle: outcomes against the week's threshold, priors of the model that served."""
    parts = [empty_frame()]
    for piece in answered:
        cycles = week.answers.iloc[piece.cycles]
        outcomes = label(cycles["forward_return"].to_numpy(dtype=np.float64), week.threshold)
        part = cycles[["bar_time", *PRIORS]].assign(
            method=piece.method,
            threshold=week.threshold,
            outcome=np.array([*CLASSES, None], dtype=object)[outcomes],
            **dict(zip(CHANCES, piece.chances.T, strict=True)),
        )
        parts.append(part[COLUMNS])
    return pd.concat([part for part in parts if len(part)] or parts, ignore_index=True)


def empty_frame() -> pd.DataFrame:
    """No row, with every column."""
    return pd.DataFrame(columns=COLUMNS)
