"""A full disk, a read-only disk, a clock that jumps, concurrent runs."""

import os
from datetime import timedelta
from typing import Any

import pytest

from flows.analysis import analysis
from hybrid_ml.learning.model_bytes import pack_file
from hybrid_ml.registry.access import load_saved_model
from hybrid_ml.schemas.requests import AnalysisRequest
from hybrid_ml.store.locks import symbol_locks
from hybrid_ml.store.model_files import MODEL_FILE
from tests.faults import victim
from tests.faults.conftest import ANALYSIS, REQUESTS, TRAINING, Installation, timed
from tests.faults.sample import matrix, sample
from tests.faults.table import FaultRows
from tests.flows.running import AS_OF, analyze, run, train


def test_full_disk_keeps_old_model_file_and_complete_registry(
    installation: Installation, end_states: dict, faults: FaultRows
) -> None:
    """The process may write files of half the model's size only. The next run deletes old temporary files.

    Younger ones may be those of another run.
    """
    before = (installation.models / MODEL_FILE).read_bytes()
    process = victim.start("analysis", ANALYSIS, installation.environment, file_size_limit=len(before) // 2)
    process.join(600)
    assert process.exitcode == 1
    assert (installation.models / MODEL_FILE).read_bytes() == before
    assert installation.is_consistent()
    assert installation.end_state()["predictions"] == end_states["analysis"]["predictions"]
    old, young = (installation.models / f".{MODEL_FILE}.{name}" for name in ("old", "young"))
    for path in (old, young):
        path.write_bytes(b"half")
    os.utime(old, (0, 0))
    _, seconds = timed(lambda: analyze(**ANALYSIS))
    assert installation.end_state() == end_states["analysis"]
    assert not old.exists()
    assert young.exists()
    result = "the error names the disk; the old file is kept, the registry is complete"
    faults.add("disk full while the model file is written", result, seconds)


@pytest.mark.parametrize("flow", sample(["analysis", "weekly training"], "analysis"))
def test_readonly_models_folder_fails_the_run_and_loses_nothing(
    installation: Installation, end_states: dict, faults: FaultRows, monkeypatch: pytest.MonkeyPatch, flow: str
) -> None:
    """No account can create a folder in /proc."""
    monkeypatch.setenv("HYBRID_ML_MODELS_DIR", "/proc/hybrid-ml-models")
    request_model = victim.FLOWS[flow][1]
    state, report = run(victim.FLOWS[flow][0], request_model(**REQUESTS[flow]))
    assert state.is_failed()
    assert "/proc/hybrid-ml-models cannot be written" in report.failures[0].error
    monkeypatch.setenv("HYBRID_ML_MODELS_DIR", str(installation.models))
    for part in ("versions", "predictions", "alerts"):
        assert installation.end_state()[part] == end_states[flow][part]
    run_again = analyze if flow == "analysis" else train
    _, seconds = timed(lambda: run_again(**REQUESTS[flow]))
    assert installation.end_state() == end_states[flow]
    faults.add(f"read-only models folder, {flow}", "error; registry and ledger are complete", seconds)


def test_clock_jump_of_an_hour_back_keeps_champion_and_ledger(installation: Installation, faults: FaultRows) -> None:
    """10:20, then 09:20 and 09:30, then 10:30: one answer per bar, the same champion, no model from the future."""
    first = analyze(**ANALYSIS)
    champion = installation.rows("SELECT version FROM model_versions WHERE status = 'champion'")
    earlier_answers = [analyze(**{**ANALYSIS, "as_of": AS_OF - timedelta(minutes=minutes)}) for minutes in (60, 50)]
    assert all(answer.model.trained_until < AS_OF - timedelta(minutes=50) for answer in earlier_answers)
    assert all(answer.model.version != first.model.version for answer in earlier_answers)
    later, seconds = timed(lambda: analyze(**{**ANALYSIS, "as_of": AS_OF + timedelta(minutes=10)}))
    assert not later.fell_back
    assert installation.rows("SELECT version FROM model_versions WHERE status = 'champion'") == champion
    assert installation.rows("SELECT count(*), count(DISTINCT bar_time) FROM predictions") == [(4, 4)]
    current_model = load_saved_model("ABC", AS_OF + timedelta(minutes=10))
    assert (installation.models / MODEL_FILE).read_bytes() == pack_file(current_model)
    faults.add("clock jumps back an hour", "answers as of then; nothing twice; same champion", seconds)


def test_two_concurrent_analyses_record_one_prediction(
    installation: Installation, end_states: dict, faults: FaultRows
) -> None:
    def both() -> list[int]:
        processes = [victim.start("analysis", ANALYSIS, installation.environment) for _ in range(2)]
        for process in processes:
            process.join(600)
        return [process.exitcode for process in processes]

    codes, seconds = timed(both)
    assert codes == [0, 0]
    assert installation.end_state() == end_states["analysis"]
    faults.add("two analyses at once", "the second waited; one prediction, one alert", seconds)


def test_two_machines_on_one_database_get_the_same_champion(
    installation: Installation, end_states: dict, faults: FaultRows
) -> None:
    """Two models folders; both end with the same champion."""
    other_models = installation.models.parent / "elsewhere"
    environments: list[dict[str, Any]] = [
        installation.environment,
        {**installation.environment, "HYBRID_ML_MODELS_DIR": str(other_models)},
    ]

    def both() -> list[int]:
        processes = [victim.start("weekly training", TRAINING, environment) for environment in environments]
        for process in processes:
            process.join(600)
        return [process.exitcode for process in processes]

    codes, seconds = timed(both)
    assert codes == [0, 0]
    assert installation.end_state()["versions"] == end_states["weekly training"]["versions"]
    assert (other_models / MODEL_FILE).read_bytes() == (installation.models / MODEL_FILE).read_bytes()
    faults.add("two machines train at once on one database", "same champion on both", seconds)


@matrix
def test_weekly_training_during_an_analysis_leaves_consistent_state(
    installation: Installation, faults: FaultRows
) -> None:
    def both() -> list[int]:
        processes = [
            victim.start(name, request, installation.environment)
            for name, request in (("weekly training", TRAINING), ("analysis", ANALYSIS))
        ]
        for process in processes:
            process.join(600)
        return [process.exitcode for process in processes]

    codes, seconds = timed(both)
    assert codes == [0, 0]
    assert installation.is_consistent()
    assert installation.rows("SELECT count(*) FROM predictions") == [(1,)]
    current_model = load_saved_model("ABC", AS_OF)
    assert (installation.models / MODEL_FILE).read_bytes() == pack_file(current_model)
    faults.add("weekly training during an analysis", "one after the other; file and registry agree", seconds)


def test_run_with_locked_symbol_ends_busy(
    installation: Installation, faults: FaultRows, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HYBRID_ML_LOCK_WAIT_SECONDS", "0.5")
    with symbol_locks(installation.engine, 0) as held:
        held.take("ABC")
        (state, report), seconds = timed(lambda: run(analysis, AnalysisRequest(**ANALYSIS)))
    assert (state.name, state.is_completed()) == ("Busy", True)
    assert report.analyses == []
    assert report.failures[0].busy
    assert "another run is working on ABC" in report.failures[0].error
    assert installation.rows("SELECT count(*) FROM predictions") == [(0,)]
    assert not analyze(**ANALYSIS).fell_back
    faults.add("another run keeps the symbol for long", "this one ends Busy after a bounded wait", seconds)
