"""The report of a replay: figures beside baselines, disclaimers, charts."""

from datetime import timedelta
from io import BytesIO
from pathlib import Path

import matplotlib.image
import numpy as np
import pandas as pd
import pytest

from hybrid_ml.replay.baselines import empty_frame
from hybrid_ml.replay.figures import draw
from hybrid_ml.replay.report import report_markdown
from hybrid_ml.replay.result import ReplayReport
from hybrid_ml.replay.summary import account, by_week, curves, weekly_curves
from hybrid_ml.schemas.requests import ReplayRequest
from tests.unit.test_replay_standing import baseline
from tests.unit.test_replay_worth import NOON, answers

CHAMPIONS = [{"replaced": 1, "kept": 0}, {"replaced": 0, "kept": 2}, {"replaced": 3, "kept": 0}]


def replayed() -> pd.DataFrame:
    """Two weeks of answers, and a third week without any."""
    frame = answers(336).assign(refused_by="confidence")
    return frame.assign(as_of=frame["bar_time"] + pd.Timedelta(minutes=1))


def make_report(frame: pd.DataFrame, baselines: pd.DataFrame | None = None, symbol: str = "ABC") -> ReplayReport:
    request = ReplayRequest(start=NOON, weeks=3, symbols=[symbol], advise=True, fee_bps=7)
    frames = empty_frame() if baselines is None else baselines
    return account(symbol, request, frame, frames, CHAMPIONS, Path("kept"), Path("kept/report"), 9.0)


def rows_of(markdown: str, title: str) -> list[list[str]]:
    """The cells of the last table of a section, its head first."""
    section = markdown.split(f"## {title}\n")[1].split("\n## ", maxsplit=1)[0]
    table = section.strip().split("\n\n")
    lines = [part for part in table if part.startswith("|")][-1].splitlines()
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines if not line.startswith("| ---")]


def test_weeks_and_total_are_compared_with_baselines() -> None:
    report = make_report(replayed())
    text = report_markdown(report, {})
    head, *weeks = rows_of(text, "Week by week")
    assert [row[0] for row in weeks] == ["2024-03-05", "2024-03-12", "2024-03-19"]
    for row, metrics in zip(weeks[:2], report.weekly[:2], strict=True):
        by_name = dict(zip(head, row, strict=True))
        assert by_name["accuracy"] == f"{metrics['accuracy']:.3f}"
        assert by_name["majority"] == f"{metrics['majority_accuracy']:.3f}"
        assert by_name["class prior"] == f"{metrics['prior_log_loss']:.4f}"
    assert weeks[2][1:3] == ["0", "–"]
    assert weeks[1][-2:] == ["0", "2"]
    assert f"class prior {report.overall['prior_log_loss']:.4f}" in text
    assert f"majority {report.overall['majority_accuracy']:.3f}" in text
    signals = rows_of(text, "Signals")
    assert signals[1][1] == f"{report.overall['signals']['count']:,}"
    confusion = rows_of(text, "Answers and outcomes")
    assert sum(int(cell) for cell in confusion[1][1:]) == 336


def test_signals_of_a_single_day_have_no_interval() -> None:
    frame = replayed()
    report = make_report(frame.assign(signal=frame["signal"] & (frame["bar_time"] < NOON + timedelta(hours=10))))
    row = rows_of(report_markdown(report, {}), "Signals")[1]
    assert row[4] == "one day"
    returns = rows_of(report_markdown(report, {}), "Returns of the signals")[1]
    assert returns[2].endswith("(one day)")


def test_report_has_disclaimer_and_marks_simulated_data() -> None:
    real, simulated = (report_markdown(make_report(replayed(), symbol=name), {}) for name in ("ABC", "DEMO"))
    for message in (real, simulated):
        assert "They promise nothing about future answers or profit" in message
        assert message.index("## What the figures mean") < message.index("## In all")
        assert "a fee of 7 bps" in message
    assert "simulated" not in real
    assert "# Replay of DEMO (simulated data)" in simulated
    assert "no figure here is about a market" in simulated


def test_report_compares_methods_and_window_sizes() -> None:
    frame = replayed()
    uniform = np.full((len(frame), 3), 1 / 3)
    baselines = pd.concat(
        [baseline(name, frame, uniform) for name in ("23,000 rows", "80,000 rows")]
        + [baseline("persistence", frame, np.eye(3)[np.zeros(len(frame), dtype=int)])]
    )
    text = report_markdown(make_report(frame, baselines), {})
    assert "| gain of 80,000 over 23,000 rows, nats | +0.0000 |" in text
    head, *methods = rows_of(text, "Comparison with other methods")
    assert [row[0] for row in methods] == ["hybrid-ml", "base alone", "23,000 rows", "80,000 rows", "persistence"]
    assert dict(zip(head, methods[-1], strict=True))["log loss"] == "–"
    assert "80,000 over 23,000 rows (90 %)" in rows_of(text, "Week by week")[0]


def test_report_has_advice_with_its_verdict() -> None:
    report = make_report(replayed())
    text = report_markdown(report, {})
    assert report.advice is not None
    assert f"**{report.advice.verdict}**" in text
    assert "penalty after poor recent signals and the limit on the signals of one run are not replayed again" in text
    assert "balanced" in {row[0] for row in rows_of(text, "Which setting gives a precision of 0.60?")}


def test_report_without_outcomes_states_that_nothing_is_measured() -> None:
    report = make_report(replayed().assign(outcome=None))
    assert "nothing can be measured" in report_markdown(report, {})
    assert draw(report, None, {}) == {}


def test_charts_are_reproducible_png_linked_in_the_report() -> None:
    frame = replayed()
    report, weekly = make_report(frame), weekly_curves(frame, NOON, 3, 7)
    first, again = (draw(report, curves(frame, 7), weekly) for _ in range(2))
    assert first == again
    assert len(first) == 7
    for picture in first.values():
        height, width, _ = matplotlib.image.imread(BytesIO(picture)).shape
        assert 200 < height < 1_000
        assert 500 < width < 1_700
    text = report_markdown(report, {name: f"here/{name}" for name in first})
    assert all(f"](here/{name})" in text for name in first)


def test_charts_are_drawn_for_weeks_without_outcomes_or_signals() -> None:
    frame = replayed().assign(signal=False)
    frame.loc[frame["as_of"] >= pd.Timestamp(NOON) + timedelta(weeks=1), "outcome"] = None
    report = make_report(frame)
    pictures = draw(report, curves(frame, 7), weekly_curves(frame, NOON, 3, 7))
    assert set(pictures) == {"weekly.png", "reliability.png", "coverage.png", "methods.png"}
    assert "| 2024-03-12 | 0 | – |" in report_markdown(report, {})


@pytest.mark.parametrize(("minutes", "week"), [(0, 0), (7 * 1_440 - 1, 0), (7 * 1_440, 1), (14 * 1_440, 1)])
def test_answers_are_split_by_week(minutes: int, week: int) -> None:
    frame = pd.DataFrame({"as_of": [pd.Timestamp(NOON) + pd.Timedelta(minutes=minutes)]})
    assert [len(part) for part in by_week(frame, NOON, 2)] == [1 - week, week]
    closing = pd.DataFrame({"bar_time": frame["as_of"] - pd.Timedelta(minutes=1)})
    assert [len(part) for part in by_week(closing, NOON, 2)] == [1 - week, week]
