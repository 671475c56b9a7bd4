"""Rivals of a replayed week: the same cycles, one threshold, nothing they could not have known."""

from datetime import UTC, datetime, timedelta

import numpy as np
import pandas as pd
import pytest

from hybrid_ml.market.bars import MAX_GAP_MINUTES, clean_bars
from hybrid_ml.market.labels import CLASSES
from hybrid_ml.market.simulation import simulate_bars
from hybrid_ml.replay import baseline_models, baselines
from hybrid_ml.replay.engine import ReplayedService, train
from hybrid_ml.replay.history import Past
from hybrid_ml.replay.memory_store import Trained
from hybrid_ml.schemas.requests import AnalysisRequest

START = datetime(2024, 2, 4, tzinfo=UTC)
CYCLES = 12
METHODS = {"class prior", "majority", "persistence", "logistic regression"}


@pytest.fixture(scope="module")
def past() -> Past:
    """6,000 simulated bars before START and nine days after it."""
    bars = simulate_bars(START + timedelta(days=9), bars=6_000 + 9 * 1_440, missing_share=0.0)
    return Past(clean_bars(bars).bars, MAX_GAP_MINUTES)


@pytest.fixture(scope="module")
def trained(past: Past) -> Trained:
    return train(past, "ABC", "base", START, 0, 3_000, 1)


@pytest.fixture(scope="module")
def week(past: Past, trained: Trained) -> baselines.Week:
    """Twelve cycles around two midnights."""
    service = ReplayedService(
        "ABC", AnalysisRequest(fast_mode=True, disable_sleep_window=True), lambda _: (0, 3_000), 1
    )
    service.weekly(trained)
    moments = [START + timedelta(hours=23, minutes=30) + cycle * timedelta(minutes=10) for cycle in range(CYCLES)]
    answers = pd.DataFrame([row for row in service.cycles(past, moments) if row is not None])
    return baselines.Week(0, START, 3_000, answers, trained.model, 1)


@pytest.fixture(scope="module")
def frame(past: Past, week: baselines.Week) -> pd.DataFrame:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(baselines, "ROW_LIMITS", (2_500, 3_000))
        patch.setattr(baselines, "FEWEST_ROWS_FOR_LIMITS", 4_000)
        pieces = [*baselines.row_limit_pieces(past, week), *baselines.baseline_pieces(past, week)]
        return baselines.frame(week, map(baselines.answer, pieces))


def test_every_method_answers_every_cycle(frame: pd.DataFrame, week: baselines.Week) -> None:
    assert list(frame.columns) == baselines.COLUMNS
    assert set(frame["method"]) == METHODS | {"2,500 rows", "3,000 rows"}
    for _, part in frame.groupby("method"):
        assert part["bar_time"].tolist() == week.answers["bar_time"].tolist()
        assert part["outcome"].tolist() == week.answers["outcome"].tolist()
    assert np.allclose(frame[baselines.PROBABILITY_COLUMNS].sum(axis=1), 1.0)
    assert frame["threshold"].eq(week.threshold).all()


def test_guesses_are_what_their_names_say(
    frame: pd.DataFrame, past: Past, week: baselines.Week, trained: Trained
) -> None:
    probabilities = {name: part[baselines.PROBABILITY_COLUMNS].to_numpy() for name, part in frame.groupby("method")}
    assert np.array_equal(probabilities["class prior"], np.tile(trained.model.base.class_prior, (CYCLES, 1)))
    threshold = trained.model.base.label_threshold
    close = pd.Series(past.bars["close"].to_numpy(), index=pd.DatetimeIndex(past.bars["time"]))
    for chance, bar_time in zip(probabilities["persistence"], week.answers["bar_time"], strict=True):
        change = np.log(close[bar_time] / close[bar_time - timedelta(minutes=10)])
        expected = "up" if change > threshold else "down" if change < -threshold else "flat"
        assert CLASSES[int(chance.argmax())] == expected
    majority = probabilities["majority"]
    assert (majority == majority[0]).all()
    assert CLASSES[int(majority[0].argmax())] == CLASSES[int(np.argmax(trained.model.base.class_prior))]


def test_the_weekly_base_is_taken_where_a_rival_would_be_the_same(
    frame: pd.DataFrame, past: Past, week: baselines.Week
) -> None:
    base = week.weekly_base(3_000)
    assert base is not None
    assert week.weekly_base(2_500) is None
    request = baselines.answer_features(past, week)
    anew = baseline_models.predict_base(
        None, baselines.sunday_rows(past, week, 3_000), 3_000, week.threshold, (), request, 1
    )
    assert np.array_equal(anew, base.base_probabilities(request))
    assert np.array_equal(anew, frame.loc[frame["method"] == "3,000 rows", baselines.PROBABILITY_COLUMNS].to_numpy())


def test_few_rows_before_a_week_leave_the_row_limits_out(past: Past, week: baselines.Week) -> None:
    assert list(baselines.row_limit_pieces(past, week)) == []
    assert list(baselines.frame(week, []).columns) == baselines.COLUMNS


def test_logistic_regression_copes_with_missing_and_with_one_class(past: Past) -> None:
    known = past.labelled_rows(START, 2_000)
    training = np.where(np.arange(known.features.shape[1]) == 3, np.nan, known.features)
    request = training[-5:].copy()
    probabilities = baseline_models.predict_logistic(training, known.labels(1.0), request)
    assert np.array_equal(probabilities, np.tile([0.0, 1.0, 0.0], (5, 1)))
    probabilities = baseline_models.predict_logistic(training, known.labels(1e-4), request)
    assert np.isfinite(probabilities).all()
    assert np.allclose(probabilities.sum(axis=1), 1.0)
