"""Errors of a user: the message names the value and the remedy, the exit code is not 0, there is no traceback."""

import json
from pathlib import Path

import pytest
from sqlalchemy import Engine

from hybrid_ml.market.simulation import simulate_bars
from tests.conftest import Command
from tests.flows.running import AS_OF, rows

GOOD = "time,open,high,low,close,volume\n2024-01-01T00:00:00Z,1,2,1,1.5,10\n"


def write(folder: Path, text: str, name: str = "bars.csv") -> str:
    path = folder / name
    path.write_text(text)
    return str(path)


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (["train", "--week=-1"], "--week -1: Input should be greater than or equal to 0"),
        (["train", "--limit", "5"], "--limit 5: Input should be greater than or equal to 2000"),
        (["train", "--limit", "5000", "--progressive"], "exclude each other"),
        (["analyze", "--preset", "wild"], "'conservative', 'balanced', 'aggressive' or 'very_aggressive'"),
        (["analyze", "--min_confidence", "1.5"], "--min_confidence 1.5: Input should be less than or equal to 1"),
        (["analyze", "--max_entropy", "2"], "--max_entropy 2"),
        (["analyze", "--max_signals", "-1"], "max_signals"),
        (["analyze", "--as_of", "yesterday"], "'yesterday' is no time; write it like 2018-06-01T10:20"),
        (["analyze", "--as_of", "2018"], "'2018' is no time"),
        (["analyze", "--source", "csv"], "needs --csv_path FILE"),
        (["analyze", "--csv_path", "x.csv"], "goes with --source csv"),
        (["analyze", "--symbol", "a@b"], "cannot name a symbol"),
        (["backfill", "--csv_path", "x.csv"], "needs --symbol NAME"),
        (
            ["replay", "--start", "2018-06-03", "--wanted_precision", "1.5"],
            "--wanted_precision 1.5: Input should be",
        ),
        (
            ["replay", "--start", "2018-06-03", "--wanted_precision=-0.1"],
            "--wanted_precision -0.1: Input should",
        ),
        (["review", "--days", "0"], "--days 0: Input should be greater than or equal to 1"),
        (["review", "--drift_days", "11"], "--drift_days 11: Input should be less than or equal to 10"),
        (["up", "--port", "0"], "--port 0: Input should be greater than or equal to 1"),
        (["dance"], "invalid choice: 'dance'"),
        (["analyze", "--nonsense", "1"], "unrecognized arguments: --nonsense"),
    ],
)
def test_invalid_flag_is_named_with_its_value(command_here: Command, arguments: list[str], text: str) -> None:
    done = command_here(*arguments)
    assert done.returncode == 2, done.stderr
    assert text in done.stderr
    assert "Traceback" not in done.stderr
    assert done.stdout == ""


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "cannot be read"),
        ("time,open,high,low,close,volume\n", "contains no rows"),
        (
            "time,open,high,close\n2024-01-01,1,2,1\n",
            "columns low, volume are missing (found: time, open, high, close)",
        ),
        ("time,open,high,low,close,volume\nx,1,2,1,1.5,1\n", "no usable bar in 1 row"),
    ],
    ids=["empty file", "header only", "missing columns", "nothing usable"],
)
def test_file_without_bars_is_refused(
    command_here: Command, engine: Engine, tmp_path: Path, text: str, message: str
) -> None:
    done = command_here("backfill", "--csv_path", write(tmp_path, text), "--symbol", "ABC")
    assert done.returncode == 1, done.stderr
    assert (done.stdout + done.stderr).count(message) == 1
    assert rows(engine, "SELECT count(*) FROM bars") == [(0,)]


def test_missing_file_is_named(command_here: Command) -> None:
    done = command_here("backfill", "--csv_path", "/nowhere/bars.csv", "--symbol", "ABC")
    assert done.returncode == 1
    assert "--csv_path /nowhere/bars.csv: no such file" in done.stderr


def test_bad_rows_are_rejected_with_reasons_and_good_rows_are_stored(
    command_here: Command, engine: Engine, tmp_path: Path
) -> None:
    lines = [
        "time,open,high,low,close,volume",
        "2024-01-01T00:03:00Z,1.3,1.4,1.2,1.3,10",  # unsorted
        "2024-01-01T00:00:00Z,1.0,1.1,0.9,1.0,10",
        "2024-01-01T00:01:00Z,1.1,1.2,1.0,1.1,10",
        "2024-01-01T00:01:00Z,1.1,1.2,1.0,1.15,10",  # the same minute again: the last counts
        "2024-01-01 00:02:00,1.2,1.3,1.1,1.2,10",  # no zone: UTC
        "2024-01-01T05:34:00+05:30,1.4,1.5,1.3,1.4,10",  # local time: 00:04 UTC
        "2024-01-01T00:05:00Z,abc,1.5,1.3,1.4,10",
        "2024-01-01T00:06:00Z,,1.5,1.3,1.4,10",
        "2024-01-01T00:07:00Z,0,1.5,0,1.4,10",
        "2024-01-01T00:08:00Z,-1,1.5,-1,1.4,10",
        "2024-01-01T00:09:00Z,140,150,130,140,10",
        "2024-01-01T00:10:00Z,1.4,1.3,1.5,1.4,10",
        "2024-01-01T00:11:30Z,1.4,1.5,1.3,1.4,10",
        "2024-01-01T00:12:00Z,1.4,1.5,1.3,1.4,-5",
    ]
    path = write(tmp_path, "\n".join(lines) + "\n")
    done = command_here("backfill", "--csv_path", path, "--symbol", "ABC")
    assert done.returncode == 0, done.stderr
    assert "5 new, 0 changed" in done.stdout
    assert "9 rejected" in done.stdout
    stored = rows(engine, "SELECT to_char(time AT TIME ZONE 'UTC', 'HH24:MI'), close FROM bars ORDER BY time")
    assert stored == [("00:00", 1.0), ("00:01", 1.15), ("00:02", 1.2), ("00:03", 1.3), ("00:04", 1.4)]
    reasons = dict(rows(engine, "SELECT row_number, reason FROM bars_set_aside"))
    assert reasons[3] == "time is repeated; the last row of that time is kept"
    assert reasons[7] == reasons[8] == "price is not a number"
    assert reasons[9] == reasons[10] == "price is zero or negative"
    assert "times off its neighbours" in reasons[11]
    assert reasons[12] == "high is below low"
    assert reasons[13] == "time is not a whole minute"
    assert reasons[14] == "volume is negative"
    again = command_here("backfill", "--csv_path", path, "--symbol", "ABC")
    assert "0 new, 0 changed, 5 there already" in again.stdout


def test_empty_database_error_names_backfill_command(command_here: Command) -> None:
    done = command_here("analyze")
    assert done.returncode == 1
    assert "the database holds no bars; `hybrid-ml symbols add" in done.stderr
    assert done.stderr.count("Traceback") == 0


def test_unknown_symbol_error_lists_known_symbols(command_here: Command, tmp_path: Path) -> None:
    command_here("backfill", "--csv_path", write(tmp_path, GOOD), "--symbol", "ABC")
    done = command_here("analyze", "--symbol", "XYZ", "--disable_sleep_window")
    assert done.returncode == 1
    assert done.stderr.count("no bars of XYZ in the database (symbols there: ABC)") == 1


def test_too_few_bars_error_names_the_minimum(command_here: Command, tmp_path: Path) -> None:
    command_here("backfill", "--csv_path", write(tmp_path, GOOD), "--symbol", "ABC")
    done = command_here("train")
    assert done.returncode == 1
    assert "fewer than the minimum of 2,000" in done.stderr


@pytest.mark.parametrize(
    ("connection_string", "text"),
    [
        ("nonsense", "NEON_CONN_STR is not a connection string"),
        ("mysql://me:s3cret@host/db", "NEON_CONN_STR begins with mysql://"),
        ("postgresql://me:s3cret@127.0.0.1:1/db", "cannot reach the database at 127.0.0.1:1/db"),
    ],
)
def test_unusable_connection_string_is_one_error_without_the_password(
    command_here: Command, connection_string: str, text: str
) -> None:
    done = command_here("analyze", NEON_CONN_STR=connection_string)
    assert done.returncode == 1
    assert text in done.stderr
    assert "s3cret" not in done.stdout + done.stderr


def test_invalid_setting_is_named(command_here: Command) -> None:
    done = command_here("analyze", HYBRID_ML_NUM_THREADS="many")
    assert done.returncode == 1
    assert "HYBRID_ML_NUM_THREADS" in done.stderr


def test_bars_of_a_file_are_analysed_without_being_stored(
    command_here: Command, engine: Engine, tmp_path: Path
) -> None:
    path = tmp_path / "bars.parquet"
    simulate_bars(AS_OF, bars=4_000).to_parquet(path)
    moment = AS_OF.strftime("%Y-%m-%dT%H:%M")
    done = command_here(
        "analyze", "--source", "csv", "--csv_path", str(path), "--symbol", "ABC", "--as_of", moment, "--json"
    )
    assert done.returncode == 0, done.stderr
    assert rows(engine, "SELECT count(*) FROM bars") == [(0,)]
    assert json.loads(done.stdout)["analyses"][0]["fell_back"] is True
