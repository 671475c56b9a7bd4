"""Replays as flows: what they answer, report and keep, and what they refuse."""

import json
import re
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from sqlalchemy import Engine

from flows.replay import replay
from hybrid_ml.errors import BadInput, DataUnavailable
from hybrid_ml.learning.model_bytes import unpack_file
from hybrid_ml.pipeline import leader_bars
from hybrid_ml.replay.executors import SequentialExecutor
from hybrid_ml.schemas.requests import ReplayRequest
from hybrid_ml.store.bars import store_bars
from hybrid_ml.store.model_export import read_model_file
from tasks.replay import open_executor
from tests.flows.replays import START, Finished, refuse_models
from tests.flows.running import SURE, page, run

METHODS = ["hybrid-ml", "base alone", "23,000 rows", "80,000 rows"]


def test_answers_have_outcomes_and_entries_and_a_report_that_is_an_artifact(finished: Finished) -> None:
    report, answers = finished.report, finished.answers
    assert report.cycles == len(answers) > 15
    assert set(answers["outcome"].dropna()) <= {"down", "flat", "up"}
    assert answers["tradable"].notna().equals(answers["outcome"].notna())
    traded = answers[answers["tradable"].eq(True)]
    assert (traded["entry_time"] > traded["bar_time"]).all()
    assert np.isfinite(traded[["entry_price", "entry_return"]]).all(axis=None)
    assert np.allclose(answers[["p_down", "p_flat", "p_up"]].sum(axis=1), 1.0)
    folder = finished.options["work_path"] / "report"
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
    assert finished.page.count("](data:image/png;base64,") == 5
    assert f"{report.overall['prior_log_loss']:.4f}" in finished.page


def test_same_request_finds_everything_kept_and_another_or_other_bars_are_refused(
    kept: dict[str, Any], finished: Finished, replayed_bars: pd.DataFrame, monkeypatch: pytest.MonkeyPatch
) -> None:
    refuse_models(monkeypatch)
    _, again = run(replay, ReplayRequest(**kept))
    assert repr(again.overall) == repr(finished.report.overall)  # the interval of a single signal is NaN
    _, refused = run(replay, ReplayRequest(**{**kept, "cycle_minutes": 60}))
    assert isinstance(refused, BadInput)
    assert "cycle_minutes was 120, now 60" in str(refused)
    with monkeypatch.context() as patch:
        patch.setenv("HYBRID_ML_MAX_GAP_MINUTES", "60")
        _, refused = run(replay, ReplayRequest(**kept))
    assert isinstance(refused, BadInput)
    assert "max_gap_minutes was 30, now 60" in str(refused)
    changed = replayed_bars.copy()
    changed.loc[5_000, "volume"] += 1.0
    changed.to_parquet(kept["csv_path"])
    _, refused = run(replay, ReplayRequest(**kept))
    assert isinstance(refused, BadInput)
    assert f"the bars of week 0, from {kept['start']:%Y-%m-%d %H:%M} on, have changed" in str(refused)


@pytest.mark.parametrize("output", [{"predictions_path": "/proc/answers.parquet"}, {"report_path": "/proc/report"}])
def test_unwritable_output_is_refused_before_the_work(
    replay_options: dict[str, Any], output: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("flows.replay.load_past", lambda *_: pytest.fail("work began"))
    _, refused = run(replay, ReplayRequest(**{**replay_options, **output}))
    assert isinstance(refused, BadInput)
    [(name, path)] = output.items()
    assert f"--{name} {path} cannot be written" in str(refused)


def test_advice_another_fee_and_baselines_need_no_new_replay_and_stay(
    kept: dict[str, Any], finished: Finished, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = finished.report
    assert first.advice is None
    assert [method["method"] for method in first.methods] == METHODS
    refuse_models(monkeypatch)
    options = {"advise": True, "wanted_precision": 0.5, "fee_bps": 3, "report_path": tmp_path / "elsewhere" / "report"}
    _, again = run(replay, ReplayRequest(**{**kept, **options, "baselines": True}))
    assert again.overall["accuracy"] == first.overall["accuracy"]
    assert again.advice.verdict in (tmp_path / "elsewhere" / "report" / "report.md").read_text()
    settings = json.loads((tmp_path / "elsewhere" / "report" / "report.json").read_text())["advice"]["settings"]
    assert len(settings) == again.advice.tried > len(again.advice.settings)
    assert len(again.methods) == len(METHODS) + 4
    assert {method["rows"] for method in again.methods} == {first.overall["rows"]}
    monkeypatch.setattr("hybrid_ml.replay.baselines.answer", lambda _: pytest.fail("a rival was replayed again"))
    _, third = run(replay, ReplayRequest(**{**kept, "preset": "very_aggressive", "fee_bps": 0}))
    assert third.advice is None
    assert repr(third.methods) == repr(again.methods)  # they depend on neither preset nor fee
    text = (kept["work_path"] / "report" / "report.md").read_text()
    assert again.advice.verdict in text
    assert "Kept from an earlier run: 1 week, preset balanced" in text
    assert "wanted precision 0.5, fee 3 bps" in text
    facts = json.loads((kept["work_path"] / "report" / "report.json").read_text())
    assert facts["earlier"]["advice"]["figures"]["verdict"] == again.advice.verdict
    assert again.advice.verdict in page("replay")


def test_judging_again_gives_what_a_full_replay_gives(
    kept: dict[str, Any], finished: Finished, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`tests/unit/test_replay_kept.py` has each kind of bound alone."""
    monkeypatch.setattr("hybrid_ml.signals.pace.FEWEST_DAYS", 0.1)
    monkeypatch.setattr("hybrid_ml.signals.penalty.CHANCE_STANDARD_ERRORS", -10.0)
    judging = {**SURE, "enable_recent_penalty": True, "signals_per_day": 3, "fee_bps": 3}
    elsewhere = {"work_path": tmp_path / "full", "predictions_path": tmp_path / "full.parquet"}
    _, full = run(replay, ReplayRequest(**{**kept, **judging, **elsewhere}))
    refuse_models(monkeypatch)
    _, again = run(replay, ReplayRequest(**{**kept, **judging}))
    assert repr((again.overall, again.weekly, again.methods)) == repr((full.overall, full.weekly, full.methods))
    assert again.overall["signals"]["count"] != finished.report.overall["signals"]["count"]
    answers, expected = (pd.read_parquet(path) for path in (kept["predictions_path"], tmp_path / "full.parquet"))
    pd.testing.assert_frame_equal(answers, expected, check_exact=True)


def test_replay_without_answers_fails_with_the_reason(replay_options: dict[str, Any]) -> None:
    midnight = {"start": datetime(2024, 2, 3, tzinfo=UTC), "cycle_minutes": 1_440, "disable_sleep_window": False}
    _, refused = run(replay, ReplayRequest(**{**replay_options, **midnight}))
    assert isinstance(refused, DataUnavailable)
    assert "each was in the quiet hours or had no fresh bar; choose another --start" in str(refused)


def test_weeks_that_the_bars_do_not_cover_are_refused(
    replay_options: dict[str, Any], replayed_bars: pd.DataFrame
) -> None:
    last = replayed_bars["time"].iloc[-1]

    def refusal(**changes: Any) -> str:
        _, refused = run(replay, ReplayRequest(**{**replay_options, **changes}))
        assert isinstance(refused, BadInput if "weeks" in changes else DataUnavailable)
        return str(refused)

    assert "has no bars before --start 2023-01-01T00:00" in refusal(start=datetime(2023, 1, 1, tzinfo=UTC))
    beyond = refusal(weeks=3)
    assert f"the last of which is of {last:%Y-%m-%d %H:%M}" in beyond
    assert beyond.endswith("they cover 1 week: --weeks 1")
    late = refusal(start=last + timedelta(days=1))
    assert f"(the last is of {last:%Y-%m-%d %H:%M}); choose an earlier start" in late


def test_too_few_rows_for_first_training_are_refused(
    replay_options: dict[str, Any], replayed_bars: pd.DataFrame
) -> None:
    _, refused = run(replay, ReplayRequest(**{**replay_options, "start": replayed_bars["time"].iloc[1_500]}))
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


def test_predictions_path_equal_to_bars_file_is_refused(replay_options: dict[str, Any]) -> None:
    before = replay_options["csv_path"].read_bytes()
    link = replay_options["csv_path"].with_name("link.parquet")
    link.symlink_to(replay_options["csv_path"])
    for path in (replay_options["csv_path"], link):
        _, refused = run(replay, ReplayRequest(**{**replay_options, "predictions_path": path}))
        assert isinstance(refused, BadInput)
        assert "is the file of bars, which would be replaced" in str(refused)
    assert replay_options["csv_path"].read_bytes() == before


def test_several_symbols_have_a_report_each_and_one_page_and_read_a_leader_once(
    engine: Engine, prefect_api: str, replayed_bars: pd.DataFrame, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bars = replayed_bars
    monkeypatch.setattr("hybrid_ml.learning.training.BOOSTING_ROUNDS", 20)
    store_bars(engine, "ABC", bars.iloc[100:])
    store_bars(engine, "X/Y", bars.assign(close=bars["close"] * 1.0001))
    store_bars(engine, "LEAD", bars.assign(time=bars["time"] - timedelta(minutes=2)))
    reads: list[str] = []
    read = leader_bars._read
    monkeypatch.setattr(leader_bars, "_read", lambda store, name, *rest: reads.append(name) or read(store, name, *rest))
    start = bars["time"].iloc[START].to_pydatetime()
    options = {"symbols": "ABC,X/Y", "start": start, "weeks": 1, "cycle_minutes": 480, "disable_sleep_window": True}
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
