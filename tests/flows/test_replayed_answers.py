"""A replay answers as the live flows do: the same models, probabilities, gates, outcomes and closed markets."""

from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import pandas as pd
import pytest
from sqlalchemy import Engine

from flows.analysis import analysis
from flows.weekly_training import weekly_training
from hybrid_ml.config.settings import load_settings
from hybrid_ml.learning.scaling import row_limit
from hybrid_ml.market.bars import MAX_GAP_MINUTES, clean_bars, to_grid
from hybrid_ml.market.leaders import make_leader_bars
from hybrid_ml.market.simulation import simulate_bars
from hybrid_ml.replay.engine import Recipe, ReplayedService, train
from hybrid_ml.replay.history import Past
from hybrid_ml.schemas.reports import Analysis
from hybrid_ml.schemas.requests import AnalysisRequest, TrainingRequest
from hybrid_ml.store import predictions
from hybrid_ml.store.bars import store_bars
from hybrid_ml.store.sessions import read_calendar
from tests.flows.running import SURE, choose_calendar, rows, run

DAY, MINUTE = timedelta(days=1), timedelta(minutes=1)
SUNDAY = datetime(2024, 2, 4, tzinfo=UTC)
CYCLES = 30
FIRST = SUNDAY - timedelta(minutes=110)
ENTRY = "outcome, forward_return, entry_time, entry_price, entry_return, tradable"
COLUMNS = ("bar_time", "p_down", "model_version", "signal", "silenced_by_penalty")


@pytest.fixture(scope="module")
def bars() -> pd.DataFrame:
    """4,500 simulated bars with a gap of forty minutes, a session break, an hour after the Sunday.

    Before it, no trade directly after the bar of one cycle, and none in the ten minutes after that of another.
    """
    whole = clean_bars(simulate_bars(FIRST + timedelta(minutes=10 * CYCLES + 30), bars=4_500)).bars
    minutes = (whole["time"] - pd.Timestamp(FIRST)) // pd.Timedelta(minutes=1)
    gap = minutes.between(170, 209) | (minutes == 80) | minutes.between(50, 60)
    return whole[~gap].reset_index(drop=True)


@pytest.fixture(scope="module")
def leader(bars: pd.DataFrame) -> pd.DataFrame:
    """Bars that `bars` follow a little too late, with twenty minutes that are missing, and single ones."""
    shifted = bars.assign(time=bars["time"] - timedelta(minutes=2))
    return without(without(shifted, 120, 140), 159, 160)


def without(bars: pd.DataFrame, begin: int, end: int) -> pd.DataFrame:
    """`bars` without those from `begin` until `end` minutes after the Sunday."""
    gone = bars["time"].between(SUNDAY + timedelta(minutes=begin), SUNDAY + timedelta(minutes=end), inclusive="left")
    return bars[~gone].reset_index(drop=True)


def test_replayed_answers_equal_live_answers(
    engine: Engine, prefect_api: str, bars: pd.DataFrame, leader: pd.DataFrame, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HYBRID_ML_LEADERS", "LEAD")
    # The simulated market is predictable: with the usual threshold none would be trained from scratch.
    monkeypatch.setattr("hybrid_ml.learning.fallback.MINIMUM_RECENT_ACCURACY", 0.62)
    # For the same reason there would be no penalty: with this value five answers cause one, which suppresses some.
    monkeypatch.setattr("hybrid_ml.signals.penalty.CHANCE_STANDARD_ERRORS", -10.0)
    # A pace needs a day of answers; here its bound moves with those of an hour and a half.
    monkeypatch.setattr("hybrid_ml.signals.pace.FEWEST_DAYS", 0.05)
    store_bars(engine, "ABC", bars)
    store_bars(engine, "LEAD", leader)
    threads, recipe = load_settings().training_threads, Recipe(("LEAD",))
    analysis_options = {**SURE, "min_confidence": 0.45, "symbols": ["ABC"], "signals_per_day": 20}
    analysis_options |= {"disable_sleep_window": True, "enable_recent_penalty": True, "fine_tune_rows": 500}
    past = Past(bars, MAX_GAP_MINUTES, leaders={"LEAD": make_leader_bars(to_grid(leader, MAX_GAP_MINUTES))})
    first_at: list[datetime] = []

    def scaling(now: datetime) -> tuple[int, int]:
        week = (now - first_at[0]) // timedelta(weeks=1)
        return week, row_limit(week)

    service = ReplayedService("ABC", AnalysisRequest(**analysis_options), scaling, threads, recipe)
    replayed: list[dict[str, Any]] = []
    fell_back = signals = unrecorded = unled = 0
    bounds: set[float] = set()
    for cycle in range(CYCLES):
        now = FIRST + cycle * timedelta(minutes=10)
        if cycle == 0 or now == SUNDAY:
            first_at.append(now)
            _, report = run(weekly_training, TrainingRequest(symbols=["ABC"], as_of=now, progressive=True))
            trained = train(past, "ABC", "base", now, *scaling(now), threads, recipe)
            promotion = service.weekly(trained)
            assert (trained.model.base.version, promotion.promoted) == (
                report.trainings[0].version,
                report.trainings[0].promoted,
            )
        _, report = run(analysis, AnalysisRequest(**analysis_options, as_of=now))
        row = service.cycle(past, now)
        live = report.analyses[0]
        if row is None:
            assert "freshness" in live.refused_by or live.bar_time == SUNDAY + timedelta(minutes=59)
            unrecorded += 1
            continue
        replayed.append(row)
        assert_answer_equals(live, row)
        newest = past.place(row["bar_time"])
        unled += len(past.rows.take(slice(newest, newest + 1)).absent(["LEAD"]))
        bounds.add(row["confidence_bound"])
        fell_back, signals = fell_back + live.fell_back, signals + live.signal
    recorded = rows(engine, f"SELECT {', '.join(COLUMNS)} FROM predictions ORDER BY bar_time")
    assert recorded == [tuple(row[name] for name in COLUMNS) for row in replayed]
    assert len(replayed) > 20
    assert 0 < unled < len(replayed) // 2
    assert fell_back > 0
    assert signals > 0
    assert unrecorded > 0
    assert len(bounds) > 3
    assert sum(row["silenced_by_penalty"] for row in replayed) > 0
    with engine.begin() as connection:
        predictions.resolve(connection, bars["time"].iloc[-1] + timedelta(minutes=1), MAX_GAP_MINUTES)
    assert_entries_equal(rows(engine, f"SELECT {ENTRY} FROM predictions ORDER BY bar_time"), past, replayed)


def assert_answer_equals(live: Analysis, row: dict[str, Any]) -> None:
    """Whether a replayed answer is that of a live run, with the verdict of every gate."""
    probabilities = {name: row[f"p_{name}"] for name in ("down", "flat", "up")}
    assert probabilities == pytest.approx(live.probabilities, abs=1e-9)
    assert row["model_version"] == live.model.version
    assert (row["bar_time"], row["signal"]) == (live.bar_time, live.signal)
    assert row["refused_by"] == ",".join(live.refused_by)
    assert row["fell_back"] == live.fell_back
    assert row["recent_rows"] == live.recent_rows
    assert row["recent_accuracy"] == pytest.approx(live.recent_accuracy)
    assert row["confidence_bound"] == live.gates[1].bound


def assert_entries_equal(live: list[tuple], past: Past, replayed: list[dict[str, Any]]) -> None:
    """Whether a person could have followed each answer, when and at which price, and both returns."""
    entries = past.with_entries(pd.DataFrame(replayed))
    kinds = set()
    for (outcome, forward_return, *recorded), row in zip(live, entries.to_dict("records"), strict=True):
        replayed_words = [None if pd.isna(row[name]) else row[name] for name in ("outcome", "entry_time", "tradable")]
        assert [outcome, recorded[0], recorded[-1]] == replayed_words
        for value, name in (
            (forward_return, "forward_return"),
            (recorded[1], "entry_price"),
            (recorded[2], "entry_return"),
        ):
            assert (np.nan if value is None else value) == pytest.approx(row[name], abs=1e-13, nan_ok=True)
        kinds.add((row["tradable"], row["entry_time"] == row["bar_time"] + pd.Timedelta(minutes=1)))
    assert kinds == {(True, True), (True, False), (False, False), (None, False)}


MONDAY = datetime(2024, 2, 5, tzinfo=UTC)
MORNING, AFTERNOON = (0, 700), (720, 1_200)
"""Sessions of each day in minutes, with a break that is shorter than the longest gap that is filled."""


def test_replayed_answers_equal_live_answers_with_a_calendar(engine: Engine, prefect_api: str) -> None:
    bars = clean_bars(simulate_bars(MONDAY + 1_300 * MINUTE, bars=6_000)).bars
    store_bars(engine, "ABC", bars)
    days = [MONDAY + number * DAY for number in range(-4, 3)]
    choose_calendar(
        engine, "ABC", [(day + a * MINUTE, day + b * MINUTE) for day in days for a, b in (MORNING, AFTERNOON)]
    )
    with engine.connect() as connection:
        past = Past(bars, MAX_GAP_MINUTES, read_calendar(connection, "of ABC"))
    options = {**SURE, "symbols": ["ABC"], "disable_sleep_window": True, "fine_tune_rows": 500}
    first, threads = MONDAY + 690 * MINUTE, load_settings().training_threads

    def scaling(now: datetime) -> tuple[int, int]:
        return 0, row_limit(0)

    service = ReplayedService("ABC", AnalysisRequest(**options), scaling, threads)
    _, report = run(weekly_training, TrainingRequest(symbols=["ABC"], as_of=first, progressive=True))
    trained = train(past, "ABC", "base", first, *scaling(first), threads)
    service.weekly(trained)
    assert trained.model.base.version == report.trainings[0].version
    closed, refused = 0, list[str]()
    for minutes in [*range(690, 760, 10), *range(1_190, 1_230, 10)]:
        now = MONDAY + minutes * MINUTE
        state, report = run(analysis, AnalysisRequest(**options, as_of=now))
        row = service.cycle(past, now)
        if row is None:
            assert state.name == "Closed" or "freshness" in report.analyses[0].refused_by
            closed += state.name == "Closed"
            continue
        live = report.analyses[0]
        probabilities = {name: row[f"p_{name}"] for name in ("down", "flat", "up")}
        assert probabilities == pytest.approx(live.probabilities, abs=1e-9)
        assert (row["bar_time"], row["signal"], row["refused_by"]) == (
            live.bar_time,
            live.signal,
            ",".join(live.refused_by),
        )
        assert row["model_version"] == live.model.version
        refused += [f"{now:%H:%M}"] if "session" in live.refused_by else []
    assert closed == 4, "two slots in the break, two in the evening"
    assert refused == ["11:40", "20:00"]
    run(analysis, AnalysisRequest(**options, as_of=MONDAY + 1_300 * MINUTE))
    voids = rows(engine, "SELECT bar_time, void_reason FROM predictions WHERE void_reason IS NOT NULL ORDER BY 1")
    assert [(f"{bar_time.astimezone(UTC):%H:%M}", reason) for bar_time, reason in voids] == [
        ("11:39", "the session ended at 2024-02-05 11:40 UTC, within the ten minutes"),
        ("19:59", "the session ended at 2024-02-05 20:00 UTC, within the ten minutes"),
    ]
