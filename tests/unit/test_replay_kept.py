"""A replay judged from kept answers equals one replayed in full, and asks models only for what is not kept."""

from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from hybrid_ml.learning import training
from hybrid_ml.learning.fallback import RecentRecord
from hybrid_ml.learning.model import HybridModel
from hybrid_ml.learning.promotion import Promotion
from hybrid_ml.market.bars import MAX_GAP_MINUTES, clean_bars
from hybrid_ml.market.leaders import LeaderBars, make_leader_bars
from hybrid_ml.market.simulation import simulate_bars
from hybrid_ml.replay import engine, lookahead, memory_store
from hybrid_ml.replay.checkpoints import ReplayFolder
from hybrid_ml.replay.engine import ReplayedService, train
from hybrid_ml.replay.fingerprints import leaders_fingerprint
from hybrid_ml.replay.history import Past
from hybrid_ml.replay.kept import KeptWork
from hybrid_ml.replay.kept_files import predictions_frame, read_predictions, read_trainings, trainings_list
from hybrid_ml.replay.memory_store import Trained
from hybrid_ml.replay.replayed_weeks import answers_of, replayed_week
from hybrid_ml.schemas.requests import AnalysisRequest

START = datetime(2024, 2, 4, 18, tzinfo=UTC)
CYCLES = 60
MOMENTS = [START + cycle * timedelta(minutes=10) for cycle in range(CYCLES)]
AWAKE = {"disable_sleep_window": True, "fine_tune_rows": 500}
LOOSE = {"min_confidence": 0.36, "min_prob_margin": 0.0, "max_entropy": 1.1}
ENDS = MOMENTS[-1] + timedelta(hours=1)


@pytest.fixture(scope="module", autouse=True)
def small_and_often_trained() -> Iterator[None]:
    """Few trees; recent accuracy is often too low, and every third training from scratch is promoted."""

    def decide(challenger: HybridModel, champion: HybridModel | None, *_: Any, **__: Any) -> Promotion:
        hours = (challenger.base.as_of - START) // timedelta(hours=1)
        return Promotion(champion is None or hours % 3 == 2, "for the test")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(training, "BOOSTING_ROUNDS", 12)
        patch.setattr("hybrid_ml.learning.fallback.MINIMUM_RECENT_ACCURACY", 0.66)
        patch.setattr("hybrid_ml.learning.fallback.LONGEST_SCRATCH_PERIOD", timedelta(hours=1))
        patch.setattr("hybrid_ml.signals.penalty.CHANCE_STANDARD_ERRORS", -10.0)
        patch.setattr("hybrid_ml.signals.pace.FEWEST_DAYS", 0.1)
        patch.setattr(memory_store, "decide", decide)
        yield


@pytest.fixture(scope="module")
def past() -> Past:
    """Twelve minutes without a trade each two hours, in which a bar has two cycles."""
    bars = clean_bars(simulate_bars(ENDS, bars=4_800)).bars
    minutes = (bars["time"] - pd.Timestamp(START)) // pd.Timedelta(minutes=1)
    return Past(bars[~(minutes.between(0, 600) & (minutes % 120 < 12))].reset_index(drop=True), MAX_GAP_MINUTES)


@pytest.fixture(scope="module")
def trained(past: Past) -> Trained:
    return train(past, "ABC", "base", START, 0, 2_000, 1)


def replayed(past: Past, trained: Trained, kept: KeptWork, **options: Any) -> pd.DataFrame:
    service = ReplayedService("ABC", AnalysisRequest(symbols=["ABC"], **{**AWAKE, **options}), lambda _: (0, 2_000), 1)
    service.kept = kept
    if service.repeat_weekly(START) is None:
        service.weekly(trained)
    return pd.DataFrame([row for row in service.cycles(past, MOMENTS) if row is not None])


@pytest.fixture(scope="module")
def first(past: Past, trained: Trained) -> tuple[pd.DataFrame, KeptWork]:
    """A replay with the default gates, and what it keeps."""
    work = KeptWork()
    return replayed(past, trained, work), work


def again(work: KeptWork) -> KeptWork:
    """What a later replay finds of `work`, read from its files."""
    predictions = read_predictions(predictions_frame(work.predictions))
    return KeptWork(predictions, read_trainings(trainings_list(work.trainings)), work.model)


@pytest.mark.parametrize(
    "gates",
    [
        {"preset": "very_aggressive"},
        LOOSE,
        {**LOOSE, "signals_per_day": 20},
        {**LOOSE, "enable_recent_penalty": True},
        {"max_bar_age_minutes": 15, "preset": "conservative", "max_entropy": 1.0},
    ],
    ids=["preset", "bounds", "pace", "penalty", "another preset"],
)
def test_judging_kept_answers_equals_a_full_replay(
    past: Past,
    trained: Trained,
    first: tuple[pd.DataFrame, KeptWork],
    gates: dict[str, Any],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    default, work = first
    assert 3 < default["fell_back"].sum() < len(work.trainings) + 1
    assert default["model_version"].str.contains("adapter|scratch").any()
    full = replayed(past, trained, KeptWork(), **gates)
    monkeypatch.setattr(engine, "train_on", lambda *_: pytest.fail("a model was trained"))
    monkeypatch.setattr(lookahead, "predict_batch", lambda *_: pytest.fail("a model was asked"))
    kept = again(work)
    judged = replayed(past, trained, kept, **gates)
    pd.testing.assert_frame_equal(judged, full, check_exact=True)
    assert (kept.computed, kept.trained) == (0, 0)
    verdicts = ["bar_time", "signal", "silenced_by_penalty", "refused_by", "confidence_bound"]
    assert not judged[verdicts].equals(default[verdicts])


def test_comparison_methods_stay_when_a_later_answer_about_a_bar_becomes_a_signal(
    first: tuple[pd.DataFrame, KeptWork],
) -> None:
    answers = first[0]
    later = answers.tail(1).assign(signal=True, model_version="another adapter")
    counts = {"replaced": 1, "kept": 0}
    week = replayed_week(0, answers.to_dict("records"), "ABC@base", counts)
    twice = replayed_week(0, pd.concat([answers, later]).to_dict("records"), "ABC@base", counts)
    assert twice.fingerprint == week.fingerprint
    assert twice.first_answers["model_version"].iloc[-1] == answers["model_version"].iloc[-1]
    assert answers_of([twice])["model_version"].iloc[-1] == "another adapter"
    assert replayed_week(0, answers.to_dict("records"), "ABC@other", counts).fingerprint != week.fingerprint
    moved = answers.assign(p_up=answers["p_up"] + 0.001)
    assert replayed_week(0, moved.to_dict("records"), "ABC@base", counts).fingerprint != week.fingerprint


def test_where_fallback_decides_otherwise_only_the_rest_is_computed(
    past: Past, trained: Trained, first: tuple[pd.DataFrame, KeptWork], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("hybrid_ml.learning.fallback.MINIMUM_RECENT_ACCURACY", 0.62)
    full = replayed(past, trained, KeptWork())
    kept = again(first[1])
    judged = replayed(past, trained, kept)
    pd.testing.assert_frame_equal(judged, full, check_exact=True)
    assert not judged["fell_back"].equals(first[0]["fell_back"])
    assert 0 < kept.computed < len(MOMENTS) - 5


def test_other_quiet_hours_compute_only_cycles_that_were_asleep(
    past: Past, trained: Trained, first: tuple[pd.DataFrame, KeptWork], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("hybrid_ml.learning.fallback.MINIMUM_RECENT_ACCURACY", 0.0)
    night = {"disable_sleep_window": False, "sleep_timezone": "UTC", "sleep_window": "20:00-22:00"}
    work = KeptWork()
    asleep = replayed(past, trained, work, **night)
    kept = again(work)
    awake = replayed(past, trained, kept)
    pd.testing.assert_frame_equal(awake, replayed(past, trained, KeptWork()), check_exact=True)
    assert len(asleep) < len(awake)
    assert kept.computed == 13  # twelve that were asleep, and the next, whose adapter before it is another one


def test_answers_of_another_base_are_computed_anew(past: Past, first: tuple[pd.DataFrame, KeptWork]) -> None:
    kept = again(first[1])
    other = train(past, "ABC", "base", START, 0, 2_100, 1)
    weekly = next(key for key in kept.trainings if key.kind == "base")
    del kept.trainings[weekly]
    judged = replayed(past, other, kept)
    assert not set(first[0]["model_version"]) >= {judged["model_version"].iloc[0]}
    # The first challenger from scratch meets another champion; trained on the same rows, it is the one of before.
    assert kept.computed >= (judged["model_version"] == judged["model_version"].iloc[0]).sum()
    assert kept.trained >= 2


def test_kept_work_is_read_as_it_was_written(first: tuple[pd.DataFrame, KeptWork], tmp_path: Path) -> None:
    work = first[1]
    key, prediction = next(iter(work.predictions.items()))
    never = replace(prediction, recent=RecentRecord(0, None, None))
    work = replace(work, predictions={**work.predictions, key._replace(adapted_at=None): never})
    folder = ReplayFolder(tmp_path, {}, ["bars"])
    folder.keep(0, work)
    found = folder.open_week(0)
    assert found.predictions == work.predictions
    assert found.trainings == work.trainings
    assert {path.suffix for path in tmp_path.iterdir()} == {".json", ".parquet", ".model"}
    for version, model in work.new_models.items():
        assert found.model(version).base.trees == model.base.trees


def test_how_far_back_a_leader_is_read_does_not_matter(past: Past) -> None:
    def leader(bars: int) -> LeaderBars:
        grid = past.bars.tail(bars).assign(carried=False, session=0).set_index("time")
        return make_leader_bars(grid)

    since = past.bars["time"].iloc[-2_000].to_pydatetime()
    found = []
    for bars in (2_500, 3_000):
        past_with = Past(past.bars, MAX_GAP_MINUTES, leaders={"LEAD": leader(bars)})
        found.append(leaders_fingerprint(past_with, since, ENDS))
    assert found[0] == found[1]
    assert leaders_fingerprint(past_with, since, START) != found[1]
