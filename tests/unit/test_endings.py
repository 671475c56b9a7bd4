"""What a run's end is called: Failed before Busy, Busy before what was found out."""

from typing import Any

import pytest

from flows.final_states import to_final_state
from hybrid_ml.review.result import ReviewReport
from hybrid_ml.schemas.reports import Analysis, AnalysisReport, Failure, Training, TrainingReport

BROKEN, AT_WORK = Failure(symbol="XYZ", error="no bars"), Failure(symbol="XYZ", error="another run", busy=True)


def answer(*, degraded: bool, recorded: bool = True) -> Analysis:
    stages = {"save": 1.0} if recorded else {}
    return Analysis.model_construct(
        symbol="ABC", degraded=degraded, stage_ms=stages, recent_accuracy=0.41, recent_rows=200
    )


def answers(*analyses: Analysis, failures: tuple[Failure, ...] = ()) -> AnalysisReport:
    return AnalysisReport.model_construct(analyses=list(analyses), failures=list(failures), finished_before=[])


def training(*, promoted: bool, failures: tuple[Failure, ...] = ()) -> TrainingReport:
    made = Training.model_construct(symbol="ABC", promoted=promoted, champion="ABC@1-base-1", reason="gains too little")
    return TrainingReport.model_construct(trainings=[made], failures=list(failures), finished_before=[])


def review(*found: str) -> ReviewReport:
    return ReviewReport.model_construct(found=list(found), failures=[], finished_before=[])


@pytest.mark.parametrize(
    ("report", "name", "words"),
    [
        (answers(answer(degraded=True)), "Degraded", "ABC: the model is right in 41.0% of 200 recent rows"),
        (answers(answer(degraded=True), failures=(AT_WORK,)), "Busy", "XYZ: another run"),
        (answers(answer(degraded=True), failures=(BROKEN, AT_WORK)), "Failed", "XYZ: no bars"),
        (training(promoted=False), "Kept champion", "ABC: the champion ABC@1-base-1 stays: gains too little"),
        (training(promoted=False, failures=(BROKEN,)), "Failed", "XYZ: no bars"),
        (review("features moved"), "Drift", "features moved"),
    ],
)
def test_the_state_and_its_message(report: Any, name: str, words: str) -> None:
    state = to_final_state(report)
    assert state.name == name
    assert state.type.value == ("FAILED" if name == "Failed" else "COMPLETED")
    assert words in state.message
    assert state.data is report


@pytest.mark.parametrize(
    "report",
    [
        answers(answer(degraded=True), answer(degraded=False)),
        answers(answer(degraded=True, recorded=False)),
        answers(),
        training(promoted=True),
        review(),
    ],
)
def test_nothing_to_say_is_a_plain_end(report: Any) -> None:
    assert to_final_state(report) is report


def test_what_an_earlier_attempt_finished_is_told() -> None:
    report = answers(answer(degraded=False))
    report.finished_before = ["ABC"]
    assert to_final_state(report).message == "finished by an earlier attempt: ABC"
