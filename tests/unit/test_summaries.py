"""What a person finds in the artifact of a run."""

from datetime import UTC, datetime

from hybrid_ml.reports import Analysis, AnalysisReport, Failure, ModelSummary, Training, TrainingReport
from hybrid_ml.signals.gates import Verdict
from hybrid_ml.summaries import analysis_markdown, training_markdown

NOON = datetime(2024, 3, 5, 12, tzinfo=UTC)


def an_analysis(**changes: object) -> Analysis:
    values = {
        "symbol": "ABC",
        "bar_time": NOON,
        "close": 50.0,
        "probabilities": {"down": 0.2, "flat": 0.3, "up": 0.5},
        "direction": "up",
        "confidence": 0.5,
        "margin": 0.2,
        "entropy": 1.03,
        "signal": False,
        "refused_by": ["confidence"],
        "gates": [Verdict("confidence", 0.5, 0.6, False, "top probability at least 0.600")],
        "model": ModelSummary(version="ABC@1", kind="base", trained_until=NOON),
        "recent_accuracy": 0.4,
        "recent_rows": 200,
        "recent_majority_accuracy": 0.38,
        "fell_back": False,
        "fallback": None,
        "degraded": False,
        "fine_tune_step": 0.0,
        "refit_told": "gain -0.0200 nats, standard error 0.0100, 200 rows",
        "alert": None,
        "stage_ms": {},
    }
    return Analysis(**{**values, **changes})


def test_a_base_that_stays_says_so_with_what_unseen_rows_said() -> None:
    told = analysis_markdown(AnalysisReport(as_of=NOON, asleep=False, analyses=[an_analysis()]))
    assert "fine-tuning kept the base (the whole refit on unseen rows: gain -0.0200 nats" in told
    assert "| confidence | 0.500 | 0.600 | ✗ top probability at least 0.600 |" in told
    assert "Degraded" not in told
    assert "Fallback" not in told


def test_fallback_and_degraded_answers_are_told() -> None:
    poor = an_analysis(fallback="accuracy 0.400 is under 0.45; trained from scratch", degraded=True)
    told = analysis_markdown(AnalysisReport(as_of=NOON, asleep=False, analyses=[poor]))
    assert "Fallback: accuracy 0.400 is under 0.45; trained from scratch." in told
    assert "Degraded: the model is under the bar" in told


def test_a_champion_that_stays_and_a_busy_symbol_are_told_apart_from_failures() -> None:
    training = Training(
        symbol="ABC", version="ABC@2", kind="base", week=1, row_limit=33_000, rows=33_000, trained_until=NOON,
        metrics={"accuracy": 0.4, "majority_accuracy": 0.38, "log_loss": 1.05, "prior_log_loss": 1.09,
                 "calibration_error": 0.02, "rows": 2_000},
        promoted=False, reason="log loss 1.0500 against the champion's 1.0490", seconds=9.0,
    )  # fmt: skip
    failures = [Failure(symbol="XYZ", error="another run is at it", busy=True), Failure(symbol="N", error="no bars")]
    told = training_markdown(TrainingReport(trainings=[training], failures=failures))
    assert "## ABC: champion stays" in told
    assert "log loss 1.0500 against the champion's 1.0490." in told
    assert told.index("## Failed\n- **N**: no bars") < told.index("## Left to another run\n- **XYZ**")


def test_a_run_in_quiet_hours_says_which() -> None:
    asleep = AnalysisReport(as_of=NOON, asleep=True, quiet_hours="22:00-06:00 Europe/Berlin", analyses=[])
    assert "Asleep: quiet hours 22:00-06:00 Europe/Berlin, nothing was asked." in analysis_markdown(asleep)
