"""Files of sessions: several a day, closed days, local times; what cannot be used is named with its line."""

from datetime import UTC, date, datetime
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest

from hybrid_ml.errors import BadInput
from hybrid_ml.market.session_files import read_own_days

KOLKATA, NEW_YORK = ZoneInfo("Asia/Kolkata"), ZoneInfo("America/New_York")


def written(folder: Path, text: str, header: str = "opens_at,closes_at,date") -> Path:
    path = folder / "own.csv"
    path.write_text(f"{header}\n{text}\n")
    return path


def test_sessions_of_a_day_closed_days_and_evenings_before(tmp_path: Path) -> None:
    path = written(
        tmp_path,
        "2026-11-02T09:15,2026-11-02T12:00,\n2026-11-02T12:30,2026-11-02T15:30,\n,,2026-11-03\n\n"
        "2026-11-03T18:00+00:00,2026-11-04T05:00+00:00,2026-11-04",
    )
    assert read_own_days(path, "NSE", KOLKATA) == {
        date(2026, 11, 2): [
            (datetime(2026, 11, 2, 3, 45, tzinfo=UTC), datetime(2026, 11, 2, 6, 30, tzinfo=UTC)),
            (datetime(2026, 11, 2, 7, 0, tzinfo=UTC), datetime(2026, 11, 2, 10, 0, tzinfo=UTC)),
        ],
        date(2026, 11, 3): [],
        date(2026, 11, 4): [(datetime(2026, 11, 3, 18, tzinfo=UTC), datetime(2026, 11, 4, 5, tzinfo=UTC))],
    }


def test_day_without_a_date_is_the_local_one(tmp_path: Path) -> None:
    path = written(tmp_path, "2026-11-02T09:00+10:00,2026-11-02T16:00+10:00", header="opens_at,closes_at")
    assert list(read_own_days(path, "ASX", None)) == [date(2026, 11, 2)]


@pytest.mark.parametrize(
    ("row", "zone", "message"),
    [
        ("2026-11-02T09:15,2026-11-02T15:30,", None, "own.csv line 2: opens_at 2026-11-02T09:15 states no offset; add"),
        ("2026-11-02T15:30Z,2026-11-02T15:30Z,", None, "line 2: closes_at 2026-11-02T15:30Z is not after opens_at"),
        ("2026-11-02T15:30Z,,", None, "line 2: closes_at is empty is no time"),
        ("noon,2026-11-02T15:30Z,", None, "line 2: opens_at noon is no time; write it like 2026-11-02T09:15"),
        ("2026-11-02T09:15:30Z,2026-11-02T15:30Z,", None, "09:15:30Z is not a whole minute between 1980 and 2200"),
        ("0001-01-01T09:15Z,2026-11-02T15:30Z,", None, "0001-01-01T09:15Z is not a whole minute between 1980"),
        (",,tomorrow", None, "line 2: date tomorrow is no date"),
        ("2026-11-01T01:30,2026-11-01T16:00,", NEW_YORK, "a time at which America/New_York changes its clocks"),
        ("2026-03-08T02:30,2026-03-08T16:00,", NEW_YORK, "a time at which America/New_York changes its clocks"),
        (
            "2026-11-02T09:15Z,2026-11-02T15:30Z,\n,,2026-11-02",
            None,
            "line 3: 2026-11-02 is stated as closed, and has a session in another row",
        ),
        ("2026-11-02T09:15Z,2026-11-02T15:30Z,\n2026-11-02T15:00Z,2026-11-02T16:00Z,", None, "UTC overlap; correct"),
        ("", None, "own.csv has no row"),
    ],
)
def test_row_that_cannot_be_used_is_named(tmp_path: Path, row: str, zone: ZoneInfo | None, message: str) -> None:
    with pytest.raises(BadInput, match=r"own\.csv|calendar NSE") as error:
        read_own_days(written(tmp_path, row), "NSE", zone)
    assert message in str(error.value)
    assert "\n" not in str(error.value)


def test_file_that_is_none_is_named(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="lacks closes_at; its header must be"):
        read_own_days(written(tmp_path, "x", header="opens_at,date"), "NSE", None)
    with pytest.raises(BadInput, match="cannot be read as CSV"):
        read_own_days(tmp_path / "none.csv", "NSE", None)
    (tmp_path / "bytes.csv").write_bytes(b"\xff\xfe\x00opens")
    with pytest.raises(BadInput, match="cannot be read as CSV"):
        read_own_days(tmp_path / "bytes.csv", "NSE", None)
