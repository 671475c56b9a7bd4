"""A section of a report stays while the answers it was computed from do."""

from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest

from hybrid_ml.errors import BadInput
from hybrid_ml.replay.kept_sections import KeptSection, earlier_sections, keep_section
from hybrid_ml.replay.replayed_weeks import ReplayedWeek, replayed_week
from tests.unit.test_replay_worth import answers

COUNTS = {"replaced": 0, "kept": 1}


@pytest.fixture
def weeks() -> list[ReplayedWeek]:
    return [replayed_week(week, answers(30, week).to_dict("records"), "ABC@base", COUNTS) for week in range(3)]


@pytest.fixture
def section(weeks: list[ReplayedWeek]) -> KeptSection:
    figures = {"precision": float("nan"), "count": 3}
    return KeptSection("advice", "2 weeks", [week.fingerprint for week in weeks[:2]], "## Which?\n\nThis.", figures)


@pytest.mark.parametrize("count", [1, 2, 3])
def test_a_section_stays_with_more_weeks_and_with_fewer(
    weeks: list[ReplayedWeek], section: KeptSection, count: int, tmp_path: Path
) -> None:
    keep_section(tmp_path, section)
    [found] = earlier_sections(tmp_path, weeks[:count], written=[])
    assert found == replace(section, figures={"precision": None, "count": 3})
    assert found.labelled_markdown == "## Which?\n\n*Kept from an earlier run: 2 weeks.*\n\nThis."
    assert earlier_sections(tmp_path, weeks[:count], written=["advice"]) == []


def test_a_section_stays_when_other_gates_judge(
    weeks: list[ReplayedWeek], section: KeptSection, tmp_path: Path
) -> None:
    keep_section(tmp_path, section)
    judged = [replace(week, answers=week.answers.assign(signal=True, refused_by="")) for week in weeks]
    assert len(earlier_sections(tmp_path, judged, written=[])) == 1


def test_a_section_about_other_answers_is_removed(
    weeks: list[ReplayedWeek], section: KeptSection, tmp_path: Path
) -> None:
    keep_section(tmp_path, section)
    moved = weeks[1].answers.assign(bar_time=weeks[1].answers["bar_time"] + pd.Timedelta(minutes=1))
    changed = [weeks[0], replace(weeks[1], answers=moved)]
    assert earlier_sections(tmp_path, changed, written=[]) == []
    assert list(tmp_path.iterdir()) == []


def test_a_damaged_section_is_named_with_remedy(weeks: list[ReplayedWeek], tmp_path: Path) -> None:
    (tmp_path / "advice.section.json").write_text('{"name": "adv')
    with pytest.raises(BadInput, match=r"advice.section.json is damaged \(JSONDecodeError\); delete it"):
        earlier_sections(tmp_path, weeks, written=[])
