"""What a person reads after a replay: every figure beside its guess, words that promise nothing, charts."""

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
from tests.unit.test_replay_standing import rival
from tests.unit.test_replay_worth import NOON, answers

CHAMPIONS = [{"replaced": 1, "kept": 0}, {"replaced": 0, "kept": 2}, {"replaced": 3, "kept": 0}]


def replayed() -> pd.DataFrame:
    """Two weeks of answers, and a third week without any."""
    frame = answers(336).assign(refused_by="confidence")
    return frame.assign(as_of=frame["bar_time"] + pd.Timedelta(minutes=1))


def an_account(frame: pd.DataFrame, rivals: pd.DataFrame | None = None, symbol: str = "ABC") -> ReplayReport:
    request = ReplayRequest(start=NOON, weeks=3, symbols=[symbol], advise=True, fee_bps=7)
    others = empty_frame() if rivals is None else rivals
    return account(symbol, request, frame, others, CHAMPIONS, Path("kept"), Path("kept/report"), 9.0)


def rows_of(markdown: str, title: str) -> list[list[str]]:
    """The cells of the last table of a section, its head first."""
    section = markdown.split(f"## {title}\n")[1].split("\n## ", maxsplit=1)[0]
    table = section.strip().split("\n\n")
    lines = [part for part in table if part.startswith("|")][-1].splitlines()
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines if not line.startswith("| ---")]


def test_every_week_and_all_stand_beside_guessing() -> None:
    report = an_account(replayed())
    text = report_markdown(report, {})
    head, *weeks = rows_of(text, "Week by week")
    assert [row[0] for row in weeks] == ["2024-03-05", "2024-03-12", "2024-03-19"]
    for row, worth in zip(weeks[:2], report.weekly[:2], strict=True):
        by_name = dict(zip(head, row, strict=True))
        assert by_name["accuracy"] == f"{worth['accuracy']:.3f}"
        assert by_name["majority"] == f"{worth['majority_accuracy']:.3f}"
        assert by_name["class prior"] == f"{worth['prior_log_loss']:.4f}"
    assert weeks[2][1:3] == ["0", "–"]
    assert weeks[1][-2:] == ["0", "2"]
    assert f"class prior {report.overall['prior_log_loss']:.4f}" in text
    assert f"majority {report.overall['majority_accuracy']:.3f}" in text
    signals = rows_of(text, "Signals")
    assert signals[1][1] == f"{report.overall['signals']['count']:,}"
    confusion = rows_of(text, "What was answered, and what came true")
    assert sum(int(cell) for cell in confusion[1][1:]) == 336


def test_signals_of_a_single_day_have_no_interval_of_days() -> None:
    frame = replayed()
    report = an_account(frame.assign(signal=frame["signal"] & (frame["bar_time"] < NOON + timedelta(hours=10))))
    row = rows_of(report_markdown(report, {}), "Signals")[1]
    assert row[4] == "one day"
    assert row[6].endswith("(one day)")


def test_the_words_promise_nothing_and_name_simulated_data() -> None:
    real, simulated = (report_markdown(an_account(replayed(), symbol=name), {}) for name in ("ABC", "DEMO"))
    for message in (real, simulated):
        assert "nothing here is a promise of profit" in message
        assert message.index("## What the figures mean") < message.index("## In all")
        assert "a fee of 7 bps" in message
    assert "simulated" not in real
    assert "# Replay of DEMO (simulated data)" in simulated
    assert "no figure here says anything about a market" in simulated


def test_other_methods_and_the_larger_window_are_told() -> None:
    frame = replayed()
    even = np.full((len(frame), 3), 1 / 3)
    rivals = pd.concat(
        [rival(name, frame, even) for name in ("23,000 rows", "80,000 rows")]
        + [rival("persistence", frame, np.eye(3)[np.zeros(len(frame), dtype=int)])]
    )
    text = report_markdown(an_account(frame, rivals), {})
    assert "| gain of 80,000 over 23,000 rows, nats | +0.0000 |" in text
    head, *methods = rows_of(text, "Beside other methods")
    assert [row[0] for row in methods] == ["hybrid-ml", "base alone", "23,000 rows", "80,000 rows", "persistence"]
    assert dict(zip(head, methods[-1], strict=True))["log loss"] == "–"
    assert "80,000 over 23,000 rows (90 %)" in rows_of(text, "Week by week")[0]


def test_advice_stands_in_the_report_with_its_verdict() -> None:
    report = an_account(replayed())
    text = report_markdown(report, {})
    assert report.advice is not None
    assert f"**{report.advice.verdict}**" in text
    assert "penalty after poor recent signals and the most signals of one run are not replayed again" in text
    assert "balanced" in {row[0] for row in rows_of(text, "Which setting gives a precision of 0.60?")}


def test_answers_without_outcomes_are_said_to_tell_nothing() -> None:
    report = an_account(replayed().assign(outcome=None))
    assert "nothing can be measured" in report_markdown(report, {})
    assert draw(report, None, {}) == {}


def test_charts_are_the_same_png_each_time_and_stand_where_they_are_said_to() -> None:
    frame = replayed()
    report, weekly = an_account(frame), weekly_curves(frame, NOON, 3)
    first, again = (draw(report, curves(frame), weekly) for _ in range(2))
    assert first == again
    assert len(first) == 6
    for picture in first.values():
        height, width, _ = matplotlib.image.imread(BytesIO(picture)).shape
        assert 200 < height < 1_000
        assert 500 < width < 1_700
    text = report_markdown(report, {name: f"here/{name}" for name in first})
    assert all(f"](here/{name})" in text for name in first)


def test_charts_stand_weeks_without_outcome_signals_or_interval() -> None:
    frame = replayed().assign(signal=False)
    frame.loc[frame["as_of"] >= pd.Timestamp(NOON) + timedelta(weeks=1), "outcome"] = None
    report = an_account(frame)
    pictures = draw(report, curves(frame), weekly_curves(frame, NOON, 3))
    assert set(pictures) == {"weekly.png", "reliability.png", "coverage.png", "methods.png"}
    assert "| 2024-03-12 | 0 | – |" in report_markdown(report, {})


@pytest.mark.parametrize(("minutes", "week"), [(0, 0), (7 * 1_440 - 1, 0), (7 * 1_440, 1), (14 * 1_440, 1)])
def test_a_moment_lies_in_its_week(minutes: int, week: int) -> None:
    frame = pd.DataFrame({"as_of": [pd.Timestamp(NOON) + pd.Timedelta(minutes=minutes)]})
    assert [len(part) for part in by_week(frame, NOON, 2)] == [1 - week, week]
    closing = pd.DataFrame({"bar_time": frame["as_of"] - pd.Timedelta(minutes=1)})
    assert [len(part) for part in by_week(closing, NOON, 2)] == [1 - week, week]
