"""The past through the live code: replayed answers are those of the live flows, probability by probability."""

import json
import re
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from prefect.artifacts import Artifact
from sqlalchemy import Engine

from flows.analysis import analysis
from flows.replay import replay
from flows.weekly_training import weekly_training
from hybrid_ml.config.settings import load_settings
from hybrid_ml.errors import BadInput, DataUnavailable
from hybrid_ml.learning.scaling import row_limit
from hybrid_ml.market.bars import MAX_GAP_MINUTES, clean_bars
from hybrid_ml.market.simulation import simulate_bars
from hybrid_ml.replay.checkpoints import ReplayFolder, week_fingerprint
from hybrid_ml.replay.engine import Service, train
from hybrid_ml.replay.executors import InTurn
from hybrid_ml.replay.history import Past
from hybrid_ml.schemas.requests import AnalysisRequest, ReplayRequest, TrainingRequest
from hybrid_ml.store.bars import store_bars
from tasks.replay import open_spread
from tests.flows.running import SURE, rows, run

SUNDAY = datetime(2024, 2, 4, tzinfo=UTC)
CYCLES = 50
FIRST = SUNDAY - timedelta(minutes=250)
KEPT = ("bar_time", "p_down", "model_version", "signal", "silenced_by_penalty")


@pytest.fixture(scope="module")
def bars() -> pd.DataFrame:
    """7,000 simulated bars with a hole of forty minutes, a session break, an hour after the Sunday."""
    whole = clean_bars(simulate_bars(FIRST + timedelta(minutes=10 * CYCLES + 30), bars=7_000)).bars
    hole = (whole["time"] >= SUNDAY + timedelta(minutes=60)) & (whole["time"] < SUNDAY + timedelta(minutes=100))
    return whole[~hole].reset_index(drop=True)


def test_replayed_answers_are_the_live_ones(
    engine: Engine, prefect_api: str, bars: pd.DataFrame, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The simulated market is easy: with the usual bar no model would fall under it.
    monkeypatch.setattr("hybrid_ml.learning.fallback.MINIMUM_RECENT_ACCURACY", 0.62)
    monkeypatch.setattr("hybrid_ml.learning.fallback.RECOVERED_RECENT_ACCURACY", 0.66)
    # Nor would the penalty find a record poor: with this, five answers bring one, and it silences some.
    monkeypatch.setattr("hybrid_ml.signals.penalty.CHANCE_STANDARD_ERRORS", -10.0)
    store_bars(engine, "ABC", bars)
    threads = load_settings().training_threads
    asked = {**SURE, "min_confidence": 0.45, "symbols": ["ABC"]}
    asked |= {"disable_sleep_window": True, "enable_recent_penalty": True}
    past = Past(bars, MAX_GAP_MINUTES)
    first_at: list[datetime] = []

    def scaling(now: datetime) -> tuple[int, int]:
        week = (now - first_at[0]) // timedelta(weeks=1)
        return week, row_limit(week)

    service = Service("ABC", AnalysisRequest(**asked), scaling, threads)
    replayed: list[dict[str, Any]] = []
    compared = fell_back = signals = unrecorded = 0
    for cycle in range(CYCLES):
        now = FIRST + cycle * timedelta(minutes=10)
        if cycle == 0 or now == SUNDAY:
            first_at.append(now)
            _, report = run(weekly_training, TrainingRequest(symbols=["ABC"], as_of=now, progressive=True))
            trained = train(past, "ABC", "base", now, *scaling(now), threads)
            promotion = service.weekly(trained)
            assert (trained.model.base.version, promotion.promoted) == (
                report.trainings[0].version,
                report.trainings[0].promoted,
            )
        _, report = run(analysis, AnalysisRequest(**asked, as_of=now))
        row = service.cycle(past, now)
        live = report.analyses[0]
        if row is None:
            assert "freshness" in live.refused_by or live.bar_time == SUNDAY + timedelta(minutes=59)
            unrecorded += 1
            continue
        replayed.append(row)
        chances = {name: row[f"p_{name}"] for name in ("down", "flat", "up")}
        assert chances == pytest.approx(live.probabilities, abs=1e-9)
        assert row["model_version"] == live.model.version
        assert (row["bar_time"], row["signal"]) == (live.bar_time, live.signal)
        assert row["refused_by"] == ",".join(live.refused_by)
        assert row["fell_back"] == live.fell_back
        compared, fell_back, signals = compared + 1, fell_back + live.fell_back, signals + live.signal
    recorded = rows(engine, f"SELECT {', '.join(KEPT)} FROM predictions ORDER BY bar_time")
    assert recorded == [tuple(row[name] for name in KEPT) for row in replayed]
    assert compared > 40
    assert fell_back > 0
    assert signals > 0
    assert unrecorded > 0
    assert sum(row["silenced_by_penalty"] for row in replayed) > 0


@pytest.fixture
def asked(bars: pd.DataFrame, tmp_path: Path, engine: Engine, prefect_api: str) -> dict[str, Any]:
    """A replay of two short weeks: one analysis a day."""
    bars.to_parquet(tmp_path / "bars.parquet")
    return {
        "source": "csv",
        "csv_path": tmp_path / "bars.parquet",
        "symbols": ["ABC"],
        "start": bars["time"].iloc[4_000].to_pydatetime(),
        "weeks": 1,
        "cycle_minutes": 120,
        "disable_sleep_window": True,
        "work_path": tmp_path / "work",
        "predictions_path": tmp_path / "answers.parquet",
    }


def test_a_replay_keeps_its_weeks_and_goes_on_after_them(
    asked: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    _, first = run(replay, ReplayRequest(**asked))
    answers = pd.read_parquet(asked["predictions_path"])
    assert first.cycles == len(answers) > 15
    assert set(answers["outcome"].dropna()) <= {"down", "flat", "up"}
    assert np.allclose(answers[["p_down", "p_flat", "p_up"]].sum(axis=1), 1.0)
    monkeypatch.setattr("tasks.replay.train_on", lambda *_: pytest.fail("a finished week was trained again"))
    _, again = run(replay, ReplayRequest(**asked))
    assert repr(again.overall) == repr(first.overall)  # the interval of a single signal is NaN


def test_state_comes_back_as_it_was_kept(asked: dict[str, Any], bars: pd.DataFrame, tmp_path: Path) -> None:
    run(replay, ReplayRequest(**asked))
    folder = ReplayFolder(asked["work_path"], json.loads((asked["work_path"] / "replay.json").read_text()))
    restored = Service("ABC", AnalysisRequest(**SURE), lambda _: (0, 23_000), 1)
    folder.restore(0, restored)
    again = ReplayFolder(tmp_path / "other", {})
    again.keep(0, [], restored, "bars")
    twice = Service("ABC", AnalysisRequest(**SURE), lambda _: (0, 23_000), 1)
    again.restore(0, twice)
    assert twice.champion.version == restored.champion.version
    assert restored.registry.adapted_at is not None
    assert twice.ledger == restored.ledger
    assert replace(twice.registry, champion=None) == replace(restored.registry, champion=None)


def test_another_replay_in_the_same_folder_is_refused_naming_what_differs(asked: dict[str, Any]) -> None:
    run(replay, ReplayRequest(**asked))
    _, refused = run(replay, ReplayRequest(**{**asked, "cycle_minutes": 60}))
    assert isinstance(refused, BadInput)
    assert "cycle_minutes was 120, now 60" in str(refused)


def test_a_start_before_the_bars_is_refused(asked: dict[str, Any]) -> None:
    _, refused = run(replay, ReplayRequest(**{**asked, "start": datetime(2023, 1, 1, tzinfo=UTC)}))
    assert "has no bars before --start 2023-01-01T00:00" in str(refused)


@pytest.mark.parametrize("output", [{"predictions_path": "/proc/answers.parquet"}, {"report_path": "/proc/report"}])
def test_an_unwritable_output_is_refused_before_the_work(
    asked: dict[str, Any], output: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("flows.replay.load_past", lambda *_: pytest.fail("work began"))
    _, refused = run(replay, ReplayRequest(**{**asked, **output}))
    assert isinstance(refused, BadInput)
    [(name, path)] = output.items()
    assert f"--{name} {path} cannot be written" in str(refused)


def test_a_report_is_always_made_and_told_in_the_prefect_ui(asked: dict[str, Any], tmp_path: Path) -> None:
    _, report = run(replay, ReplayRequest(**asked))
    folder = asked["work_path"] / "report"
    assert report.report_path == folder
    text = (folder / "report.md").read_text()
    pictures = re.findall(r"\]\((\w+\.png)\)", text)
    assert len(pictures) == 4
    assert {path.name for path in folder.iterdir()} == {"report.md", "report.json", *pictures}
    assert all((folder / name).read_bytes().startswith(b"\x89PNG") for name in pictures)
    facts = json.loads((folder / "report.json").read_text())
    assert facts["overall"]["accuracy"] == report.overall["accuracy"]
    assert facts["curves"]["all"]["precision_by_coverage"][-1]["coverage"] == 1.0
    artifact = Artifact.get("replay")
    assert artifact is not None
    assert artifact.data.count("](data:image/png;base64,") == 4
    assert f"{report.overall['prior_log_loss']:.4f}" in artifact.data


def test_advice_and_another_fee_need_no_new_replay(
    asked: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, first = run(replay, ReplayRequest(**asked))
    assert first.advice is None
    monkeypatch.setattr("tasks.replay.train_on", lambda *_: pytest.fail("a finished week was trained again"))
    more = {"advise": True, "wanted_precision": 0.5, "fee_bps": 3, "report_path": tmp_path / "elsewhere" / "report"}
    _, again = run(replay, ReplayRequest(**{**asked, **more}))
    assert again.overall["accuracy"] == first.overall["accuracy"]
    assert again.advice.verdict in (tmp_path / "elsewhere" / "report" / "report.md").read_text()
    every = json.loads((tmp_path / "elsewhere" / "report" / "report.json").read_text())["advice"]["settings"]
    assert len(every) == again.advice.tried > len(again.advice.settings)


def test_a_replay_without_any_answer_says_why(asked: dict[str, Any]) -> None:
    midnight = {"start": datetime(2024, 2, 3, tzinfo=UTC), "cycle_minutes": 1_440, "disable_sleep_window": False}
    _, refused = run(replay, ReplayRequest(**{**asked, **midnight}))
    assert isinstance(refused, DataUnavailable)
    assert "each lay in the quiet hours or had no fresh bar; choose another --start" in str(refused)


def test_a_bar_answered_twice_counts_once_with_the_later_answer(tmp_path: Path) -> None:
    folder = ReplayFolder(tmp_path, {})
    service = Service("ABC", AnalysisRequest(**SURE), lambda _: (0, 23_000), 1)
    folder.keep(0, [{"bar_time": SUNDAY, "signal": False}], service, "bars")
    service.registry.replaced, service.registry.kept = 2, 1
    folder.keep(1, [{"bar_time": SUNDAY, "signal": True}], service, "bars")
    assert folder.answers(2)["signal"].tolist() == [True]
    assert folder.champions(2) == [{"replaced": 0, "kept": 0}, {"replaced": 2, "kept": 1}]


def test_baselines_asked_for_later_are_done_for_the_weeks_that_are_finished(
    asked: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("hybrid_ml.replay.baseline_models.DAILY_ROUNDS", 10)
    monkeypatch.setattr("hybrid_ml.replay.baselines.FEWEST_ROWS_FOR_LIMITS", 3_000)
    run(replay, ReplayRequest(**asked))
    folder = ReplayFolder(asked["work_path"], json.loads((asked["work_path"] / "replay.json").read_text()))
    assert set(folder.rivals(1)["method"]) == {"23,000 rows", "80,000 rows"}
    monkeypatch.setattr("tasks.replay.train_on", lambda *_: pytest.fail("a finished week was trained again"))
    run(replay, ReplayRequest(**asked, baselines=True))
    cycles = folder.rivals(1)["method"].value_counts()
    assert len(cycles) == 8
    assert set(cycles) == {len(folder.answers(1))}
    monkeypatch.setattr("hybrid_ml.replay.baselines.answer", lambda _: pytest.fail("a rival was replayed again"))
    _, again = run(replay, ReplayRequest(**asked, baselines=True))
    assert again.cycles == len(folder.answers(1))


def test_a_finished_week_whose_bars_changed_is_refused_and_named(asked: dict[str, Any], bars: pd.DataFrame) -> None:
    run(replay, ReplayRequest(**asked))
    changed = bars.copy()
    changed.loc[5_000, "volume"] += 1.0
    changed.to_parquet(asked["csv_path"])
    _, refused = run(replay, ReplayRequest(**asked))
    assert isinstance(refused, BadInput)
    assert f"the bars of week 0, from {asked['start']:%Y-%m-%d %H:%M} on, have changed" in str(refused)


def test_weeks_beyond_the_bars_are_refused(asked: dict[str, Any], bars: pd.DataFrame) -> None:
    _, refused = run(replay, ReplayRequest(**{**asked, "weeks": 3}))
    assert isinstance(refused, BadInput)
    last = bars["time"].iloc[-1]
    assert f"the last of which is of {last:%Y-%m-%d %H:%M}" in str(refused)
    assert str(refused).endswith("they reach into 1 week: --weeks 1")
    _, refused = run(replay, ReplayRequest(**{**asked, "start": last + timedelta(days=1)}))
    assert f"(the last is of {last:%Y-%m-%d %H:%M}); choose an earlier start" in str(refused)


def test_too_few_rows_for_a_first_training_are_said(asked: dict[str, Any], bars: pd.DataFrame) -> None:
    _, refused = run(replay, ReplayRequest(**{**asked, "start": bars["time"].iloc[1_500]}))
    assert isinstance(refused, DataUnavailable)
    assert "ABC has 1,4" in str(refused)
    assert "labelled rows before --start" in str(refused)
    assert "a training takes 2,470 at least" in str(refused)


def test_a_replay_can_begin_with_the_full_window(asked: dict[str, Any]) -> None:
    _, report = run(replay, ReplayRequest(**{**asked, "first_week": 6, "fast_mode": True}))
    folder = ReplayFolder(asked["work_path"], json.loads((asked["work_path"] / "replay.json").read_text()))
    champion = folder.champion(0, "ABC")
    assert champion is not None
    assert (champion.base.week, champion.base.row_limit) == (6, 80_000)
    assert report.cycles == len(folder.answers(1))


def test_workers_beyond_the_cores_are_not_started(asked: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tasks.replay.cores", lambda: 1)
    with open_spread(ReplayRequest(**{**asked, "workers": 64})) as spread:
        assert isinstance(spread.executor, InTurn)


@pytest.fixture
def finished(asked: dict[str, Any], bars: pd.DataFrame) -> dict[str, Any]:
    """A replay of two weeks in fast mode, done."""
    asked = {**asked, "weeks": 1, "fast_mode": True, "cycle_minutes": 360}
    run(replay, ReplayRequest(**asked))
    return asked


@pytest.mark.parametrize(
    "name", ["replay.json", "week_000.json", "week_000.parquet", "week_000.rivals.parquet", "week_000.model"]
)
@pytest.mark.parametrize("damage", ["cut", "gone", "garbage"])
def test_a_damaged_file_of_a_finished_week_is_named_with_the_remedy(
    finished: dict[str, Any], name: str, damage: str
) -> None:
    path = finished["work_path"] / name
    whole = path.read_bytes()
    if damage == "gone":
        path.unlink()
    else:
        path.write_bytes(whole[: len(whole) // 2] if damage == "cut" else b"{gar")
    state, found = run(replay, ReplayRequest(**finished))
    if damage == "gone" and name in ("week_000.json", "week_000.rivals.parquet"):  # done again
        assert state.is_completed()
        return
    assert isinstance(found, BadInput)
    assert name in str(found)
    assert ("choose another folder" if name == "replay.json" else "delete") in str(found)


def test_weeks_of_two_replays_do_not_mix(asked: dict[str, Any], bars: pd.DataFrame) -> None:
    start = bars["time"].iloc[3_000]
    asked = {**asked, "start": start, "cycle_minutes": 720, "fast_mode": True}
    manifest = {"what": "asked"}
    folder = ReplayFolder(asked["work_path"], manifest)
    service = Service("ABC", AnalysisRequest(**SURE), lambda _: (0, 23_000), 1)
    past = Past(bars, MAX_GAP_MINUTES)
    sundays = [start.to_pydatetime() + week * timedelta(weeks=1) for week in range(2)]
    prints = [week_fingerprint(past, sunday) for sunday in sundays]
    for week in range(2):
        folder.keep(week, [{"bar_time": SUNDAY, "signal": False}], service, prints[week])
    folder.refuse_changed(past, sundays[0], 2)
    first = asked["work_path"] / "week_000.json"
    kept = first.read_bytes()
    first.write_bytes(kept.replace(b'"replaced": 0', b'"replaced": 1'))
    with pytest.raises(BadInput, match=r"week_001.json is damaged \(what it follows is not there any more\)"):
        folder.refuse_changed(past, sundays[0], 2)
    first.unlink()
    folder.keep(0, [{"bar_time": SUNDAY, "signal": True}], service, prints[0])
    assert folder.finished() == 1


def test_the_bars_are_not_replaced_by_the_answers(asked: dict[str, Any]) -> None:
    before = asked["csv_path"].read_bytes()
    link = asked["csv_path"].with_name("link.parquet")
    link.symlink_to(asked["csv_path"])
    for path in (asked["csv_path"], link):
        _, refused = run(replay, ReplayRequest(**{**asked, "predictions_path": path}))
        assert isinstance(refused, BadInput)
        assert "is the file of bars, which it would replace" in str(refused)
    assert asked["csv_path"].read_bytes() == before


def test_another_gap_is_another_replay(finished: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HYBRID_ML_MAX_GAP_MINUTES", "60")
    _, refused = run(replay, ReplayRequest(**finished))
    assert isinstance(refused, BadInput)
    assert "max_gap_minutes was 30, now 60" in str(refused)
