"""Replay with the live code: replayed answers have the same probabilities as those of the live flows."""

import json
import re
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from sqlalchemy import Engine

from flows.analysis import analysis
from flows.replay import replay
from flows.weekly_training import weekly_training
from hybrid_ml.config.settings import load_settings
from hybrid_ml.errors import BadInput, DataUnavailable
from hybrid_ml.learning.model_bytes import unpack_file
from hybrid_ml.learning.scaling import row_limit
from hybrid_ml.market.bars import MAX_GAP_MINUTES, clean_bars, to_grid
from hybrid_ml.market.leaders import make_leader_bars
from hybrid_ml.market.simulation import simulate_bars
from hybrid_ml.pipeline import leader_bars
from hybrid_ml.replay.checkpoints import ReplayFolder
from hybrid_ml.replay.engine import Recipe, ReplayedService, train
from hybrid_ml.replay.executors import SequentialExecutor
from hybrid_ml.replay.fingerprints import week_fingerprints
from hybrid_ml.replay.history import Past
from hybrid_ml.replay.kept import JudgedTraining, KeptWork, TrainingKey
from hybrid_ml.replay.replayed_weeks import answers_of, champions_of, replayed_week
from hybrid_ml.schemas.reports import Analysis
from hybrid_ml.schemas.requests import AnalysisRequest, ReplayRequest, TrainingRequest
from hybrid_ml.store import predictions
from hybrid_ml.store.bars import store_bars
from hybrid_ml.store.model_export import read_model_file
from tasks.replay import open_executor
from tests.flows.running import SURE, page, rows, run

SUNDAY = datetime(2024, 2, 4, tzinfo=UTC)
CYCLES = 50
FIRST = SUNDAY - timedelta(minutes=250)
ENTRY = "outcome, forward_return, entry_time, entry_price, entry_return, tradable"
COLUMNS = ("bar_time", "p_down", "model_version", "signal", "silenced_by_penalty")


@pytest.fixture(scope="module")
def bars() -> pd.DataFrame:
    """7,000 simulated bars with a gap of forty minutes, a session break, an hour after the Sunday.

    Before it, no trade directly after the bar of one cycle, and none in the ten minutes after that of another.
    """
    whole = clean_bars(simulate_bars(FIRST + timedelta(minutes=10 * CYCLES + 30), bars=7_000)).bars
    minutes = (whole["time"] - pd.Timestamp(FIRST)) // pd.Timedelta(minutes=1)
    gap = minutes.between(310, 349) | (minutes == 200) | minutes.between(150, 160)
    return whole[~gap].reset_index(drop=True)


@pytest.fixture(scope="module")
def leader(bars: pd.DataFrame) -> pd.DataFrame:
    """Bars that `bars` follow a little too late, with twenty minutes that are missing, and single ones."""
    shifted = bars.assign(time=bars["time"] - timedelta(minutes=2))
    return without(without(shifted, 150, 170), 209, 210)


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
    # A pace needs a day of answers; here its bound moves with those of a few hours.
    monkeypatch.setattr("hybrid_ml.signals.pace.FEWEST_DAYS", 0.1)
    store_bars(engine, "ABC", bars)
    store_bars(engine, "LEAD", leader)
    threads, recipe = load_settings().training_threads, Recipe(("LEAD",))
    analysis_options = {**SURE, "min_confidence": 0.45, "symbols": ["ABC"], "signals_per_day": 20}
    analysis_options |= {"disable_sleep_window": True, "enable_recent_penalty": True}
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
    assert len(replayed) > 40
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


@pytest.fixture
def replay_options(bars: pd.DataFrame, tmp_path: Path, engine: Engine, prefect_api: str) -> dict[str, Any]:
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


def refuse_models(monkeypatch: pytest.MonkeyPatch) -> None:
    """From now on no model may be trained or asked."""
    monkeypatch.setattr("tasks.replay.train_on", lambda *_: pytest.fail("a weekly model was trained again"))
    monkeypatch.setattr("hybrid_ml.replay.engine.train_on", lambda *_: pytest.fail("a model was trained again"))
    monkeypatch.setattr("hybrid_ml.replay.lookahead.predict_batch", lambda *_: pytest.fail("a model was asked again"))


def test_replay_keeps_finished_weeks_and_continues_after_them(
    replay_options: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    _, first = run(replay, ReplayRequest(**replay_options))
    answers = pd.read_parquet(replay_options["predictions_path"])
    assert first.cycles == len(answers) > 15
    assert set(answers["outcome"].dropna()) <= {"down", "flat", "up"}
    assert answers["tradable"].notna().equals(answers["outcome"].notna())
    traded = answers[answers["tradable"].eq(True)]
    assert (traded["entry_time"] > traded["bar_time"]).all()
    assert np.isfinite(traded[["entry_price", "entry_return"]]).all(axis=None)
    assert np.allclose(answers[["p_down", "p_flat", "p_up"]].sum(axis=1), 1.0)
    refuse_models(monkeypatch)
    _, again = run(replay, ReplayRequest(**replay_options))
    assert repr(again.overall) == repr(first.overall)  # the interval of a single signal is NaN


def test_replay_with_other_parameters_in_same_folder_is_refused(replay_options: dict[str, Any]) -> None:
    run(replay, ReplayRequest(**replay_options))
    _, refused = run(replay, ReplayRequest(**{**replay_options, "cycle_minutes": 60}))
    assert isinstance(refused, BadInput)
    assert "cycle_minutes was 120, now 60" in str(refused)


def test_start_before_the_first_bar_is_refused(replay_options: dict[str, Any]) -> None:
    _, refused = run(replay, ReplayRequest(**{**replay_options, "start": datetime(2023, 1, 1, tzinfo=UTC)}))
    assert "has no bars before --start 2023-01-01T00:00" in str(refused)


@pytest.mark.parametrize("output", [{"predictions_path": "/proc/answers.parquet"}, {"report_path": "/proc/report"}])
def test_unwritable_output_is_refused_before_the_work(
    replay_options: dict[str, Any], output: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("flows.replay.load_past", lambda *_: pytest.fail("work began"))
    _, refused = run(replay, ReplayRequest(**{**replay_options, **output}))
    assert isinstance(refused, BadInput)
    [(name, path)] = output.items()
    assert f"--{name} {path} cannot be written" in str(refused)


def test_report_is_written_and_is_an_artifact(replay_options: dict[str, Any], tmp_path: Path) -> None:
    _, report = run(replay, ReplayRequest(**replay_options))
    folder = replay_options["work_path"] / "report"
    assert report.report_path == folder
    text = (folder / "report.md").read_text()
    pictures = re.findall(r"\]\((\w+\.png)\)", text)
    assert len(pictures) == 5
    assert {path.name for path in folder.iterdir()} == {"report.md", "report.json", *pictures}
    assert all((folder / name).read_bytes().startswith(b"\x89PNG") for name in pictures)
    facts = json.loads((folder / "report.json").read_text())
    assert facts["overall"]["accuracy"] == report.overall["accuracy"]
    assert facts["curves"]["all"]["precision_by_coverage"][-1]["coverage"] == 1.0
    signals = facts["overall"]["signals"]
    assert facts["curves"]["all"]["equity"][-1]["total_bps"] == pytest.approx(signals["entry"]["total_bps"])
    assert len(facts["curves"]["all"]["equity"]) == signals["entry"]["traded"] > 0
    artifact = page("replay")
    assert artifact.count("](data:image/png;base64,") == 5
    assert f"{report.overall['prior_log_loss']:.4f}" in artifact


def test_advice_and_another_fee_need_no_new_replay(
    replay_options: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, first = run(replay, ReplayRequest(**replay_options))
    assert first.advice is None
    refuse_models(monkeypatch)
    options = {"advise": True, "wanted_precision": 0.5, "fee_bps": 3, "report_path": tmp_path / "elsewhere" / "report"}
    _, again = run(replay, ReplayRequest(**{**replay_options, **options}))
    assert again.overall["accuracy"] == first.overall["accuracy"]
    assert again.advice.verdict in (tmp_path / "elsewhere" / "report" / "report.md").read_text()
    settings = json.loads((tmp_path / "elsewhere" / "report" / "report.json").read_text())["advice"]["settings"]
    assert len(settings) == again.advice.tried > len(again.advice.settings)
    _, third = run(replay, ReplayRequest(**{**replay_options, "preset": "very_aggressive", "fee_bps": 0}))
    assert third.advice is None
    text = (replay_options["work_path"] / "report" / "report.md").read_text()
    assert again.advice.verdict in text
    assert "Kept from an earlier run: 1 week, preset balanced" in text
    assert "wanted precision 0.5, fee 3 bps" in text
    facts = json.loads((replay_options["work_path"] / "report" / "report.json").read_text())
    assert facts["earlier"]["advice"]["figures"]["verdict"] == again.advice.verdict
    assert again.advice.verdict in page("replay")


@pytest.mark.parametrize(
    "judging",
    [
        {"preset": "very_aggressive", "min_prob_margin": 0.0},
        {**SURE, "enable_recent_penalty": True},
        {**SURE, "signals_per_day": 3, "fee_bps": 3},
    ],
    ids=["preset and bounds", "penalty", "pace and fee"],
)
def test_judging_again_gives_what_a_full_replay_gives(
    replay_options: dict[str, Any], judging: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("hybrid_ml.learning.training.BOOSTING_ROUNDS", 20)
    monkeypatch.setattr("hybrid_ml.signals.pace.FEWEST_DAYS", 0.1)
    monkeypatch.setattr("hybrid_ml.signals.penalty.CHANCE_STANDARD_ERRORS", -10.0)
    options = {**replay_options, "cycle_minutes": 240}
    elsewhere = {"work_path": tmp_path / "full", "predictions_path": tmp_path / "full.parquet"}
    _, full = run(replay, ReplayRequest(**{**options, **judging, **elsewhere}))
    _, first = run(replay, ReplayRequest(**options))
    refuse_models(monkeypatch)
    _, again = run(replay, ReplayRequest(**{**options, **judging}))
    assert repr((again.overall, again.weekly, again.methods)) == repr((full.overall, full.weekly, full.methods))
    assert again.overall["signals"]["count"] != first.overall["signals"]["count"]
    answers, expected = (pd.read_parquet(path) for path in (options["predictions_path"], tmp_path / "full.parquet"))
    pd.testing.assert_frame_equal(answers, expected, check_exact=True)


def test_replay_without_answers_fails_with_the_reason(replay_options: dict[str, Any]) -> None:
    midnight = {"start": datetime(2024, 2, 3, tzinfo=UTC), "cycle_minutes": 1_440, "disable_sleep_window": False}
    _, refused = run(replay, ReplayRequest(**{**replay_options, **midnight}))
    assert isinstance(refused, DataUnavailable)
    assert "each was in the quiet hours or had no fresh bar; choose another --start" in str(refused)


def test_bar_answered_twice_counts_once_with_the_later_answer() -> None:
    twice = [{"bar_time": SUNDAY, "signal": False}], [{"bar_time": SUNDAY, "signal": True}]
    counts = {"replaced": 0, "kept": 0}, {"replaced": 2, "kept": 1}
    weeks = [replayed_week(week, twice[week], None, counts[week]) for week in range(2)]
    assert answers_of(weeks)["signal"].tolist() == [True]
    assert champions_of(weeks) == list(counts)


def test_baselines_requested_later_are_computed_for_finished_weeks_and_stay(
    replay_options: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("hybrid_ml.replay.baselines.FEWEST_ROWS_FOR_LIMITS", 3_000)
    _, first = run(replay, ReplayRequest(**replay_options))
    names = ["hybrid-ml", "base alone", "23,000 rows", "80,000 rows"]
    assert [method["method"] for method in first.methods] == names
    refuse_models(monkeypatch)
    _, second = run(replay, ReplayRequest(**replay_options, baselines=True))
    assert len(second.methods) == len(names) + 4
    assert {method["rows"] for method in second.methods} == {first.overall["rows"]}
    monkeypatch.setattr("hybrid_ml.replay.baselines.answer", lambda _: pytest.fail("a rival was replayed again"))
    _, third = run(replay, ReplayRequest(**{**replay_options, "preset": "very_aggressive"}))
    assert repr(third.methods) == repr(second.methods)


def test_finished_week_with_changed_bars_is_refused(replay_options: dict[str, Any], bars: pd.DataFrame) -> None:
    run(replay, ReplayRequest(**replay_options))
    changed = bars.copy()
    changed.loc[5_000, "volume"] += 1.0
    changed.to_parquet(replay_options["csv_path"])
    _, refused = run(replay, ReplayRequest(**replay_options))
    assert isinstance(refused, BadInput)
    assert f"the bars of week 0, from {replay_options['start']:%Y-%m-%d %H:%M} on, have changed" in str(refused)


def test_weeks_beyond_the_bars_are_refused(replay_options: dict[str, Any], bars: pd.DataFrame) -> None:
    _, refused = run(replay, ReplayRequest(**{**replay_options, "weeks": 3}))
    assert isinstance(refused, BadInput)
    last = bars["time"].iloc[-1]
    assert f"the last of which is of {last:%Y-%m-%d %H:%M}" in str(refused)
    assert str(refused).endswith("they cover 1 week: --weeks 1")
    _, refused = run(replay, ReplayRequest(**{**replay_options, "start": last + timedelta(days=1)}))
    assert f"(the last is of {last:%Y-%m-%d %H:%M}); choose an earlier start" in str(refused)


def test_too_few_rows_for_first_training_are_refused(replay_options: dict[str, Any], bars: pd.DataFrame) -> None:
    _, refused = run(replay, ReplayRequest(**{**replay_options, "start": bars["time"].iloc[1_500]}))
    assert isinstance(refused, DataUnavailable)
    assert "ABC has 1,4" in str(refused)
    assert "labelled rows before --start" in str(refused)
    assert "a training takes 2,470 at least" in str(refused)


def test_first_week_option_begins_with_the_full_window(replay_options: dict[str, Any]) -> None:
    _, report = run(replay, ReplayRequest(**{**replay_options, "first_week": 6, "fast_mode": True}))
    [model] = replay_options["work_path"].glob("*-base-*.model")
    champion = unpack_file(read_model_file(model), "ABC")
    assert (champion.base.week, champion.base.row_limit) == (6, 80_000)
    assert report.cycles > 15


def test_workers_beyond_the_cores_are_not_started(
    replay_options: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tasks.replay.cores", lambda: 1)
    with open_executor(ReplayRequest(**{**replay_options, "workers": 64})) as pool:
        assert isinstance(pool.executor, SequentialExecutor)


@pytest.fixture
def finished(replay_options: dict[str, Any], bars: pd.DataFrame) -> dict[str, Any]:
    """A replay of two weeks in fast mode, done."""
    replay_options = {**replay_options, "weeks": 1, "fast_mode": True, "cycle_minutes": 360}
    run(replay, ReplayRequest(**replay_options))
    return replay_options


@pytest.mark.parametrize(
    "pattern", ["replay.json", "week_000.json", "week_000.parquet", "week_000.rivals.parquet", "*-base-*.model"]
)
@pytest.mark.parametrize("damage", ["cut", "gone", "garbage"])
def test_damaged_file_of_a_finished_week_is_named_with_remedy(
    finished: dict[str, Any], pattern: str, damage: str
) -> None:
    [path] = finished["work_path"].glob(pattern)
    whole = path.read_bytes()
    if damage == "gone":
        path.unlink()
    else:
        path.write_bytes(whole[: len(whole) // 2] if damage == "cut" else b"{gar")
    state, refused = run(replay, ReplayRequest(**finished))
    if damage == "gone" and path.name in ("week_000.json", "week_000.rivals.parquet"):  # done again
        assert state.is_completed()
        return
    assert isinstance(refused, BadInput)
    assert path.name in str(refused)
    assert ("choose another folder" if path.name == "replay.json" else "delete") in str(refused)


def test_edited_trainings_are_noticed(tmp_path: Path) -> None:
    folder = ReplayFolder(tmp_path, {"what": "requested"}, ["bars"])
    key = TrainingKey("base", SUNDAY, None)
    folder.keep(0, KeptWork(trainings={key: JudgedTraining("ABC@one", False, "for the test")}))
    assert folder.open_week(0).trainings[key].version == "ABC@one"
    path = tmp_path / "week_000.json"
    path.write_bytes(path.read_bytes().replace(b"false", b"true"))
    with pytest.raises(BadInput, match=r"week_000.json is damaged \(it was modified\); delete week_000.json there"):
        folder.open_week(0)


def test_weeks_after_a_changed_week_are_not_used(bars: pd.DataFrame, tmp_path: Path) -> None:
    start = bars["time"].iloc[0].to_pydatetime()

    def folder_of(changed: pd.DataFrame, weeks: int = 2) -> ReplayFolder:
        fingerprints = week_fingerprints(Past(changed, MAX_GAP_MINUTES), start, weeks, {})
        return ReplayFolder(tmp_path, {}, fingerprints)

    before = folder_of(bars)
    for week in range(2):
        before.keep(week, KeptWork())
    changed = bars.copy()
    changed.loc[100, "close"] *= 1.001
    after = folder_of(changed)
    assert [before.is_kept(week) for week in range(2)] == [True, True]
    assert [after.is_kept(week) for week in range(2)] == [False, False]
    with pytest.raises(BadInput, match=r"the bars of week 0, from .* on, have changed .* delete week_000.json"):
        after.refuse_changed(start)


def test_predictions_path_equal_to_bars_file_is_refused(replay_options: dict[str, Any]) -> None:
    before = replay_options["csv_path"].read_bytes()
    link = replay_options["csv_path"].with_name("link.parquet")
    link.symlink_to(replay_options["csv_path"])
    for path in (replay_options["csv_path"], link):
        _, refused = run(replay, ReplayRequest(**{**replay_options, "predictions_path": path}))
        assert isinstance(refused, BadInput)
        assert "is the file of bars, which would be replaced" in str(refused)
    assert replay_options["csv_path"].read_bytes() == before


def test_changed_max_gap_is_refused_as_another_replay(
    finished: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HYBRID_ML_MAX_GAP_MINUTES", "60")
    _, refused = run(replay, ReplayRequest(**finished))
    assert isinstance(refused, BadInput)
    assert "max_gap_minutes was 30, now 60" in str(refused)


def test_several_symbols_have_a_report_each_and_one_page_and_read_a_leader_once(
    engine: Engine, prefect_api: str, bars: pd.DataFrame, leader: pd.DataFrame, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.setattr("hybrid_ml.learning.training.BOOSTING_ROUNDS", 20)
    store_bars(engine, "ABC", bars.iloc[100:])
    store_bars(engine, "X/Y", bars.assign(close=bars["close"] * 1.0001))
    store_bars(engine, "LEAD", leader)
    reads: list[str] = []
    read = leader_bars._read
    monkeypatch.setattr(leader_bars, "_read", lambda store, name, *rest: reads.append(name) or read(store, name, *rest))
    start = bars["time"].iloc[4_000].to_pydatetime()
    options = {"symbols": "ABC,X/Y", "start": start, "weeks": 1, "cycle_minutes": 240, "disable_sleep_window": True}
    options |= {"fast_mode": True, "leaders": "LEAD", "work_path": tmp_path / "work", **SURE}
    _, report = run(replay, ReplayRequest(**options, predictions_path=tmp_path / "answers.parquet"))
    assert reads == ["LEAD"]
    assert [one.symbol for one in report.replays] == ["ABC", "X/Y"]
    work = tmp_path / "work"
    assert [one.report_path for one in report.replays] == [work / "ABC" / "report", work / "X_Y" / "report"]
    assert all((one.report_path / "report.md").exists() for one in report.replays)
    text = report.comparison_path.read_text()
    assert text == page("replay-comparison")
    assert f"| ABC | {report.replays[0].overall['rows']}" in text
    assert f"| X/Y | {report.replays[1].overall['rows']}" in text
    counts = pd.read_parquet(tmp_path / "answers.parquet")["symbol"].value_counts()
    assert counts.to_dict() == {one.symbol: one.cycles for one in report.replays}
    refuse_models(monkeypatch)
    _, alone = run(replay, ReplayRequest(**{**options, "symbols": ["ABC"], "work_path": tmp_path / "work" / "ABC"}))
    assert repr(alone.overall) == repr(report.replays[0].overall)
