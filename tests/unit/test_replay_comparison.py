"""Several replayed symbols on one page."""

from datetime import UTC, datetime
from pathlib import Path

import pytest
from rich.console import Console

from hybrid_ml.config.settings import load_settings
from hybrid_ml.console import replay_tables
from hybrid_ml.pipeline.run import make_run
from hybrid_ml.replay.comparison import HEAD, comparison_markdown, comparison_rows
from hybrid_ml.replay.result import ReplayReport, ReplaysReport
from hybrid_ml.replay.setup import request_of
from hybrid_ml.schemas.requests import ReplayRequest
from tests.unit.test_replay_report import make_report, replayed


@pytest.fixture
def reports() -> list[ReplayReport]:
    """One with signals, one without any, one without an outcome."""
    whole = replayed()
    frames = [whole, whole.assign(signal=False), whole.assign(outcome=None)]
    return [make_report(frame, symbol=name) for frame, name in zip(frames, ("ABC", "BCD", "CDE"), strict=True)]


def test_each_figure_of_a_symbol_is_beside_its_guess(reports: list[ReplayReport]) -> None:
    rows = comparison_rows(reports)
    assert {len(row) for row in rows} == {len(HEAD)}
    by_name, worth = dict(zip(HEAD, rows[0], strict=True)), reports[0].overall
    sent, entry = worth["signals"], worth["signals"]["entry"]
    low, high = sent["precision_interval_of_days"]
    assert by_name["signals a day"] == f"{sent['per_day']:.1f}"
    assert by_name["share right (days, 90 %)"] == f"{sent['precision']:.3f} ({low:.3f} to {high:.3f})"
    assert by_name["blind guess"] == f"{worth['blind_precision']:.3f}"
    assert by_name["median"] == f"{entry['median_return_after_fee_bps']:+.1f}"
    assert by_name["guess"] == f"{entry['guess_mean_return_after_fee_bps']:+.1f}"
    assert by_name["t over days"] == f"{entry['t']:+.1f}"
    assert rows[1][2:5] == ["0", "0", "–"]
    assert rows[1][6:10] == ["–"] * 4
    assert rows[2] == ["CDE", "0", *["–"] * (len(HEAD) - 2)]


def test_page_states_what_all_symbols_were_judged_by(reports: list[ReplayReport]) -> None:
    text = comparison_markdown(reports)
    assert "3 weeks from 2024-03-05 12:00 UTC on. Signals by preset balanced, confidence at least 0.6" in text
    assert "a fee of 7 bps a signal" in text
    names = [line.split(" | ")[0] for line in text.splitlines() if line.startswith("| ")]
    assert names[2:] == ["| ABC", "| BCD", "| CDE"]


def test_terminal_shows_symbols_as_columns(reports: list[ReplayReport], monkeypatch: pytest.MonkeyPatch) -> None:
    console = Console(width=200, record=True, file=None, quiet=False)
    monkeypatch.setattr(replay_tables, "out", console)
    path = reports[0].report_path / "comparison.md"
    replay_tables.show_replays(ReplaysReport(replays=reports, comparison_path=path))
    text = console.export_text()
    side = text.split("Side by side")[1].splitlines()
    assert side[1].split() == ["ABC", "BCD", "CDE"]
    assert [line.split()[-3:] for line in side if line.startswith("  signals  ")] == [
        [f"{reports[0].overall['signals']['count']}", "0", "–"]
    ]
    assert str(path) in text


def test_each_of_several_symbols_has_its_folder_and_its_share_of_a_pace(tmp_path: Path) -> None:
    request = ReplayRequest(start="2018-06-03", symbols="ABC,X/Y", signals_per_day=3, work_path=tmp_path)
    now = datetime(2024, 3, 5, tzinfo=UTC)
    both = make_run(request, load_settings(), [], now)
    alone = make_run(request.model_copy(update={"symbols": ["ABC"]}), load_settings(), [], now)
    shared = request_of("X/Y", both, request)
    assert (shared.work_path, shared.report_path) == (tmp_path / "X_Y", None)
    assert shared.bounds.signals_per_day == 1.5
    assert request_of("ABC", alone, request) == request
