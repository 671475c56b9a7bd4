"""`hybrid-ml sessions load|list|set`, with the real library."""

import json
from datetime import UTC, datetime
from pathlib import Path

import pytest
from sqlalchemy import Engine

from hybrid_ml.cli.__main__ import main
from hybrid_ml.store.bars import store_bars
from hybrid_ml.store.coverage import Instrument, save_instrument
from tests.flows.running import rows
from tests.simulated import hand_made_bars


def test_calendar_of_the_library_is_loaded_listed_and_chosen(engine: Engine, capsys: pytest.CaptureFixture) -> None:
    main(["sessions", "load", "--calendar", "NYSE", "--from", "2026-01-01"])
    assert "NYSE: " in capsys.readouterr().out
    store_bars(engine, "SPY", hand_made_bars([1.0] * 5))
    with engine.begin() as connection:
        save_instrument(connection, Instrument("QQQ", "binance", "QQQ"))
    main(["sessions", "set", "--symbols", "SPY,QQQ", "--calendar", "NYSE"])
    assert capsys.readouterr().out.splitlines() == ["SPY: calendar NYSE", "QQQ: calendar NYSE (no bars yet)"]
    main(["sessions", "list", "--calendar", "NYSE", "--count", "3", "--json"])
    listing = json.loads(capsys.readouterr().out)
    assert listing["symbols"] == ["QQQ", "SPY"]
    assert len(listing["coming"]) == 3
    assert datetime.fromisoformat(listing["known_until"]) > datetime.now(UTC)
    assert {session["origin"] for session in listing["coming"]} == {"library"}
    main(["sessions", "list", "--calendar", "NYSE"])
    printed = capsys.readouterr().out
    assert "symbols: QQQ, SPY" in printed
    assert listing["coming"][0]["day"] in printed


def test_file_of_ones_own_wins_over_the_library(engine: Engine, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    path = tmp_path / "own.csv"
    path.write_text("opens_at,closes_at,date\n2026-03-07T10:00,2026-03-07T11:00,\n,,2026-03-09\n")
    main(["sessions", "load", "--calendar", "NSE", "--csv_path", str(path), "--timezone", "Asia/Kolkata"])
    assert "2 days, 1 session, closed on 1 day" in capsys.readouterr().out
    main(["sessions", "load", "--calendar", "NSE", "--from", "2026-03-05", "--until", "2026-03-11", "--json"])
    loaded = json.loads(capsys.readouterr().out)
    assert (loaded["days"], loaded["kept_own_days"]) == (4, 2)
    stated = rows(engine, "SELECT to_char(day, 'DD'), origin FROM sessions WHERE opens_at < closes_at ORDER BY day")
    assert stated == [("05", "library"), ("06", "library"), ("07", "own"), ("10", "library"), ("11", "library")]


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        (["load", "--calendar", "NSEE"], 1, "has no calendar NSEE; did you mean NSE"),
        (["load", "--calendar", "24/7"], 1, "24/7 never closes and has no sessions"),
        (["load", "--calendar", " "], 2, "a calendar is named by 1 to 64 characters"),
        (["load", "--calendar", "NSE", "--from", "soon"], 2, "--from soon: Input should be a valid date"),
        (
            ["load", "--calendar", "NSE", "--timezone", "Asia/Kolkata"],
            2,
            "--timezone Asia/Kolkata goes with --csv_path",
        ),
        (
            ["load", "--calendar", "X", "--csv_path", "x.csv", "--timezone", "Mars"],
            2,
            "--timezone Mars is no time zone",
        ),
        (["load", "--calendar", "X", "--csv_path", "none.csv"], 1, "--csv_path none.csv cannot be read as CSV"),
        (["list", "--calendar", "NSE"], 1, "--calendar NSE has no sessions (there are those of: none)"),
        (["set", "--symbols", "SPY", "--calendar", "NSE"], 1, "load them first with `hybrid-ml sessions load"),
        (
            ["set", "--symbols", "SPX", "--calendar", "24/7"],
            1,
            "--symbols SPX: no such symbol in the database; did you mean SPY?",
        ),
    ],
)
def test_error_is_one_line_with_value_and_remedy(
    engine: Engine, capsys: pytest.CaptureFixture, words: list[str], code: int, message: str
) -> None:
    store_bars(engine, "SPY", hand_made_bars([1.0] * 5))
    with pytest.raises(SystemExit) as ended:
        main(["sessions", *words])
    assert ended.value.code == code
    lines = [line for line in capsys.readouterr().err.splitlines() if not line.startswith("see `")]
    assert len(lines) == 1
    assert message in lines[0]
