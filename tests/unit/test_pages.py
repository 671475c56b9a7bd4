"""Pages of the Prefect UI about symbols and runs."""

import re
import string
from datetime import UTC, datetime, timedelta
from io import BytesIO
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from matplotlib.image import imread

from hybrid_ml.learning.comparison import Comparison
from hybrid_ml.market.bars import to_grid
from hybrid_ml.market.quality import DataQuality, Revisions, measure_quality
from hybrid_ml.reporting import training_artifact as training_pages
from hybrid_ml.reporting.analysis_artifact import MOST_PICTURES, analysis_page, answer_picture, pictured, run_page
from hybrid_ml.reporting.artifact_keys import page_key
from hybrid_ml.reporting.markdown import inline
from hybrid_ml.reporting.quality_artifact import quality_page
from hybrid_ml.reporting.training_artifact import training_page, training_pictures, untrained_page
from hybrid_ml.schemas.reports import (
    Analysis,
    AnalysisReport,
    Failure,
    ModelSummary,
    ScalingReport,
    ScalingStep,
    Training,
    TrainingReport,
)
from hybrid_ml.signals.gates import Verdict
from hybrid_ml.signals.reasons import Reason
from tests.simulated import simulated_bars

NOON = datetime(2024, 3, 5, 12, tzinfo=UTC)
MAX_BYTES = 15_000
"""Limit of a picture: 144 per day and symbol are kept in Prefect's database."""
SYMBOLS = st.text(st.sampled_from(string.ascii_letters + string.digits + "/-._ ^é₿"), min_size=1, max_size=64)


def make_analysis(**changes: Any) -> Analysis:
    values = {
        "symbol": "ABC",
        "bar_time": NOON,
        "close": 50.0,
        "threshold": 0.01,
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
        "fine_tune_step": 0.0,
        "refit_summary": "gain -0.0200 nats, standard error 0.0100, 200 rows",
        "alert": None,
        "stage_ms": {},
    }
    return Analysis(**{**values, **changes})


def make_training(**changes: Any) -> Training:
    values = {
        "symbol": "ABC", "version": "ABC@2", "kind": "base", "week": 1, "row_limit": 33_000, "rows": 33_000,
        "minutes": 40_000, "trained_until": NOON,
        "metrics": {
            "accuracy": 0.4, "majority_accuracy": 0.38, "log_loss": 1.05, "prior_log_loss": 1.09,
            "calibration_error": 0.02, "rows": 60, "confusion": [[10, 5, 5], [4, 12, 4], [0, 0, 20]],
            "reliability": [{"stated": 0.4, "came_true": 0.5, "rows": 60, "low": 0.4, "high": 0.6}],
            "importance": {f"feature_{number}": 0.05 - number / 1_000 for number in range(20)},
        },
        "promoted": False, "reason": "log loss 1.0500 against the champion's 1.0490", "seconds": 9.0,
    }  # fmt: skip
    return Training(**{**values, **changes})


def make_scaling() -> ScalingReport:
    steps = [
        ScalingStep(week=week, row_limit=23_000 + 10_000 * week, begins=NOON + timedelta(weeks=week),
                    trained=[f"ABC@{number}" for number in range(5)] if week == 1 else [],
                    rows=[33_000] * 5 if week == 1 else [])
        for week in range(6)
    ]  # fmt: skip
    return ScalingReport(symbol="ABC", bars=40_000, week=1, row_limit=33_000, first_base_at=NOON, steps=steps)


def size(png: bytes) -> tuple[int, ...]:
    return tuple(imread(BytesIO(png)).shape[:2])


def test_plain_symbol_is_its_own_key() -> None:
    assert page_key("analysis", "BTCUSD") == "analysis-btcusd"
    assert page_key("data-quality", "NIFTY50") == "data-quality-nifty50"


@given(st.lists(SYMBOLS, unique=True, max_size=30), st.sampled_from(["analysis", "training", "data-quality"]))
def test_keys_of_symbols_are_unique_and_valid(symbols: list[str], kind: str) -> None:
    family = {*symbols, "BTCUSD", "btcusd", "BTC/USD", "BTC-USD", "BTC_USD", "₿", "é", "A" * 64, "A" * 63}
    keys = {page_key(kind, symbol) for symbol in family}
    assert len(keys) == len(family)
    assert all(re.fullmatch(r"[a-z0-9]+(-[a-z0-9]+)*", key) for key in keys)
    assert keys == {page_key(kind, symbol) for symbol in family}


def test_analysis_page_says_what_moved_the_answer_or_why_that_is_not_known() -> None:
    reasons = [
        Reason("own moves", 0.31, "return_10", "it rose 0.40 % in 10 minutes"),
        Reason("volume", -0.12, "traded_share_30", "3 of the last 30 minutes had trades"),
    ]
    text = analysis_page(make_analysis(reasons=reasons), None)
    assert "## What moved it" in text
    assert "| own moves | +0.31 | for UP: it rose 0.40 % in 10 minutes |" in text
    assert "| volume | -0.12 | against UP: 3 of the last 30 minutes had<br>trades |" in text
    assert "Not known: the model is old." in analysis_page(make_analysis(reasons_problem="the model is old"), None)


def test_analysis_page_has_probabilities_gates_model_and_refit() -> None:
    text = analysis_page(make_analysis(stage_ms={"load": 20.0, "predict": 5.0}), None)
    assert "# ABC: UP, no signal (confidence)" in text
    assert "| flat | 0.300 | ██████ | it is between the two |" in text
    assert "under 49.502492" in text
    assert "| ✗ | confidence | 0.500 | 0.600 | top probability at least 0.600 |" in text
    assert "accuracy 0.400 on 200 recent rows (most frequent class: 0.380)" in text
    assert "fine-tuning kept the base; the whole refit on unseen rows: gain -0.0200 nats" in text
    assert "Took 25 ms: load 20, predict 5." in text
    assert not {"Fallback", "Alert", "Problem", "data:image"} & set(re.findall(r"[A-Za-z:]+", text))


def test_fallback_alert_and_problems_are_at_the_top() -> None:
    poor = make_analysis(
        fallback="accuracy 0.400 is under 0.45; trained from scratch", alert="sent", problems=["no disk"]
    )
    head, _ = analysis_page(poor, b"png").split("![")
    for message in (
        "**Alert**: sent.",
        "**Fallback**: accuracy 0.400 is under 0.45",
        "**Problem**: no disk",
    ):
        assert message in head


def test_long_meaning_is_wrapped_and_markup_escaped() -> None:
    gate = Verdict("confidence", 0.4, 0.5, False, "top probability at least 0.500 (raised by 0.10: 9 of the last | 30)")
    text = analysis_page(make_analysis(gates=[gate]), None)
    row = next(line for line in text.splitlines() if "raised" in line and "✗" in line)
    assert "<br>" in row
    assert max(len(part) for part in row.split("|")[5].split("<br>")) <= 48
    assert "\\|" in row


def test_chart_of_an_answer_is_small_and_depends_on_probabilities() -> None:
    bars = to_grid(simulated_bars(300))
    picture = answer_picture(make_analysis(close=float(bars["close"].iloc[-1])), bars, "Asia/Kolkata")
    assert size(picture) == (400, 640)
    assert len(picture) <= MAX_BYTES
    other = answer_picture(make_analysis(probabilities={"down": 0.1, "flat": 0.4, "up": 0.5}), bars, "Asia/Kolkata")
    strips = [imread(BytesIO(one))[52:66, 90:520, :3] for one in (picture, other)]
    assert np.abs(strips[0] - strips[1]).max() > 0.2
    assert inline(picture) in analysis_page(make_analysis(), picture)


def test_large_run_has_charts_for_a_limited_number_of_signals() -> None:
    many = [make_analysis(symbol=f"S{number}", signal=number % 9 == 0) for number in range(200)]
    assert pictured(many[:MOST_PICTURES]) == {item.symbol for item in many[:MOST_PICTURES]}
    assert pictured(many) == {f"S{number}" for number in range(0, 9 * MOST_PICTURES, 9)}
    assert pictured([]) == set()


def test_run_page_has_signals_first_and_separates_busy_from_failed() -> None:
    analyses = [make_analysis(), make_analysis(symbol="A_B", signal=True, alert="sent", fell_back=True)]
    failures = [Failure(symbol="XYZ", error="another run is at it", busy=True), Failure(symbol="N", error="no | bars")]
    text = run_page(AnalysisReport(as_of=NOON, asleep=False, analyses=analyses, failures=failures))
    assert "2 answers, 1 signal." in text
    assert text.index("| A\\_B | UP | 0.500 | signal | sent | fallback |") < text.index("| ABC |")
    assert text.index("## Failed\n\n- **N**: no \\| bars") < text.index("## Left to another run\n\n- **XYZ**")


def test_training_page_compares_with_prior_and_champion() -> None:
    compared = make_training(
        champion="ABC@1", challenger_log_loss=1.05, comparison=Comparison(-0.001, 0.0009, 1_900), promoted=False
    )
    text = training_page(compared, make_scaling(), {})
    assert "# ABC: the champion stays" in text
    assert "| accuracy | 0.400 | 0.380 |" in text
    assert "| log loss, nats | 1.0500 | 1.0900 |" in text
    assert "| was down | 10 | 5 | 5 | 0.500 |" in text
    assert "| precision | 0.714 | 0.706 | 0.690 |  |" in text
    assert "| champion `ABC@1` | 1.0490 |" in text
    assert "| gain of the challenger | -0.0010 |" in text
    assert "| standard error of the gain | 0.0009 |" in text
    assert "✗ The champion stays: log loss 1.0500 against the champion's 1.0490." in text
    assert "ABC@4<br>ABC@3<br>ABC@2<br>and 2 before" in text
    assert "data:image" not in text


def test_first_training_has_no_comparison() -> None:
    text = training_page(make_training(promoted=True, reason="there was no champion"), make_scaling(), {})
    assert "# ABC: promoted" in text
    assert "there was no champion." in text
    assert "standard error" not in text


def test_charts_of_a_training_are_small_and_on_its_page() -> None:
    pictures = training_pictures(make_training(), make_scaling())
    assert set(pictures) == set(training_pages.CAPTIONS)
    assert max(map(len, pictures.values())) <= MAX_BYTES
    assert training_page(make_training(), make_scaling(), pictures).count("](data:image/png;base64,") == 3


def test_symbols_without_a_new_model_are_named() -> None:
    report = TrainingReport(trainings=[], failures=[Failure(symbol="N", error="no bars")])
    assert "## Failed\n\n- **N**: no bars" in untrained_page(report)


def test_bars_page_has_warnings_and_rejected_rows() -> None:
    quality = measure_quality(to_grid(simulated_bars(300)), NOON + timedelta(days=900))
    text = quality_page("DEMO", quality, {"high | low": 3}, Revisions(2, datetime(2024, 3, 5, 12, 7, tzinfo=UTC)))
    assert "# Bars of DEMO (simulated data)" in text
    assert re.search(r"## Warnings\n\n- the newest bar is [\d.,]+ days old", text)
    assert f"| minutes measured | {quality.bars:,} |  |" in text
    assert "| 3 | high \\| low |" in text
    assert "| corrected by their source | 2 | the last time 2024-03-05 12:07 UTC; old values in table" in text


@pytest.mark.parametrize(("minutes", "message"), [(3.2, "3 minutes"), (600.0, "10.0 hours")])
def test_good_bars_have_no_warnings_and_an_age(minutes: float, message: str) -> None:
    quality = DataQuality(1_000, NOON, NOON, 2, 0.031, 0.05, 0.1, minutes)
    page = quality_page("ABC", quality, {}, Revisions(0, None))
    assert "No warnings." in page
    assert f"{message} before this page" in page
    assert "| without a bar | 31 | 3.1%" in page
    assert "None." in page
