"""Replayed weeks: the answers of each, as a ledger has them, and how its trainings ended."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from hybrid_ml.errors import DataUnavailable
from hybrid_ml.replay.baselines import PRIOR_COLUMNS
from hybrid_ml.replay.fingerprints import fingerprint, short_hash
from hybrid_ml.replay.judging import Row

MODEL_COLUMNS = ["bar_time", "p_down", "p_flat", "p_up", "model_version", "threshold"]
"""What of an answer no gate has a part in."""


@dataclass(frozen=True)
class ReplayedWeek:
    """`answers`: a row for each recorded answer (see `judging.ledger_row`), no column where there is none.

    `champion`: the version of the base that served at the end. `replaced`, `kept`: how often a training replaced the
    champion in this week, or did not.
    """

    number: int
    answers: pd.DataFrame
    champion: str | None
    replaced: int
    kept: int

    @property
    def first_answers(self) -> pd.DataFrame:
        """The first answer of each bar: the same whatever the gates, while a later one has to be a signal."""
        return self.answers.drop_duplicates("bar_time", ignore_index=True) if len(self.answers) else self.answers

    @property
    def fingerprint(self) -> str:
        """A short hash of what the models answered, which no gate changes, and of what it was judged against."""
        if self.answers.empty:
            return short_hash(str(self.champion).encode())
        answered = fingerprint(self.first_answers[[*MODEL_COLUMNS, *PRIOR_COLUMNS]])
        return short_hash(f"{answered} {self.champion}".encode())


def replayed_week(number: int, rows: Sequence[Row], champion: str | None, counts: dict[str, int]) -> ReplayedWeek:
    """A week of `rows`; `counts`: `replaced` and `kept`."""
    return ReplayedWeek(number, pd.DataFrame(list(rows)), champion, **counts)


def answers_of(weeks: Sequence[ReplayedWeek]) -> pd.DataFrame:
    """The answers of `weeks`, one row for each bar, as in the ledger.

    A bar is answered twice where the first answer was no signal and a later one was: the later one counts.
    Raises DataUnavailable when there is no answer at all.
    """
    parts = [week.answers for week in weeks]
    whole = pd.concat([part for part in parts if len(part)] or parts, ignore_index=True)
    if whole.empty:
        raise DataUnavailable(
            "no moment of this replay had an answer: each was in the quiet hours or had no fresh bar; choose "
            "another --start or --cycle_minutes, or --disable_sleep_window"
        )
    return whole.drop_duplicates("bar_time", keep="last", ignore_index=True)


def champions_of(weeks: Sequence[ReplayedWeek]) -> list[dict[str, Any]]:
    """How often a champion was `replaced`, or `kept` against a challenger, in each week."""
    return [{"replaced": week.replaced, "kept": week.kept} for week in weeks]
