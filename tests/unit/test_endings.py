"""Final states of runs: Failed before Busy, Busy before Kept champion and Drift."""

import signal
import sys
from typing import Any

import pytest
from prefect.states import Completed, Failed

from deployments.service.added_symbols import format_end
from deployments.service.up import Stop
from flows.final_states import to_final_state
from hybrid_ml.console.terminal import out
from hybrid_ml.review.result import ReviewReport
from hybrid_ml.schemas.reports import Analysis, AnalysisReport, Failure, Training, TrainingReport

BROKEN, LOCKED = Failure(symbol="XYZ", error="no bars"), Failure(symbol="XYZ", error="another run", busy=True)


def answer(recent_accuracy: float = 0.6) -> Analysis:
    return Analysis.model_construct(
        symbol="ABC", stage_ms={"save": 1.0}, recent_accuracy=recent_accuracy, recent_rows=200
    )


def answers(*analyses: Analysis, failures: tuple[Failure, ...] = ()) -> AnalysisReport:
    return AnalysisReport.model_construct(analyses=list(analyses), failures=list(failures), finished_before=[])


def training(*, promoted: bool, failures: tuple[Failure, ...] = ()) -> TrainingReport:
    result = Training.model_construct(
        symbol="ABC", promoted=promoted, champion="ABC@1-base-1", reason="gains too little"
    )
    return TrainingReport.model_construct(trainings=[result], failures=list(failures), finished_before=[])


def review(*findings: str) -> ReviewReport:
    return ReviewReport.model_construct(found=list(findings), failures=[], finished_before=[])


@pytest.mark.parametrize(
    ("report", "name", "words"),
    [
        (answers(answer(), failures=(LOCKED,)), "Busy", "XYZ: another run"),
        (answers(answer(), failures=(BROKEN, LOCKED)), "Failed", "XYZ: no bars"),
        (training(promoted=False), "Kept champion", "ABC: the champion ABC@1-base-1 stays: gains too little"),
        (training(promoted=False, failures=(BROKEN,)), "Failed", "XYZ: no bars"),
        (review("features moved"), "Drift", "features moved"),
    ],
)
def test_final_state_has_name_type_and_message(report: Any, name: str, words: str) -> None:
    state = to_final_state(report)
    assert state.name == name
    assert state.type.value == ("FAILED" if name == "Failed" else "COMPLETED")
    assert words in state.message
    assert state.data is report


def test_every_line_of_the_end_is_printed_once_however_often_ctrl_c_is_pressed(
    capsys: pytest.CaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    stop, written = Stop(is_stopping=True), sys.stdout.write

    def interrupted(line: str) -> int:
        count = written(line)
        stop(signal.SIGINT)  # before rich has cleared what it has written
        return count

    monkeypatch.setattr(sys.stdout, "write", interrupted)
    out.print("stopped")
    assert [stop.hurries(), stop.hurries()] == [True, True]
    assert capsys.readouterr().out == "stopped\nstopping at once\n"


def test_end_of_adding_symbols_names_those_that_failed() -> None:
    failed = Failed(message="NEW: 12 labelled rows")
    assert format_end("ABC, NEW", failed) == "Failed: NEW: 12 labelled rows"
    assert format_end("ABC, NEW", Failed()) == "Failed: ABC, NEW: see the run in the UI"
    assert format_end("ABC", Completed()) == "ABC: loaded, trained and answered; every slot from now on"


def test_symbol_before_its_error_is_not_repeated() -> None:
    failure = Failure(symbol="XYZ", error="XYZ: 12 labelled rows, too few")
    assert to_final_state(training(promoted=True, failures=(failure,))).message == "XYZ: 12 labelled rows, too few"


@pytest.mark.parametrize(
    "report",
    [
        answers(answer(recent_accuracy=0.3)),
        answers(),
        training(promoted=True),
        review(),
    ],
)
def test_report_without_problem_ends_as_completed(report: Any) -> None:
    assert to_final_state(report) is report


def test_symbols_of_an_earlier_attempt_are_in_the_message() -> None:
    report = answers(answer())
    report.finished_before = ["ABC"]
    assert to_final_state(report).message == "finished by an earlier attempt: ABC"
