"""What a user gets wrong is answered with the value and the remedy, a non-zero exit, and no traceback."""

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
        (["dance"], "invalid choice: 'dance'"),
        (["analyze", "--nonsense", "1"], "unrecognized arguments: --nonsense"),
    ],
)
def test_an_impossible_flag_is_named(command: Command, arguments: list[str], text: str) -> None:
    done = command(*arguments)
    assert done.returncode == 2, done.stderr
    assert text in done.stderr
    assert "Traceback" not in done.stderr
    assert done.stdout == ""


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "cannot be read"),
        ("time,open,high,low,close,volume\n", "holds no rows"),
        (
            "time,open,high,close\n2024-01-01,1,2,1\n",
            "columns low, volume are missing (found: time, open, high, close)",
        ),
        ("time,open,high,low,close,volume\nx,1,2,1,1.5,1\n", "no usable bar in 1 row"),
    ],
    ids=["empty file", "header only", "missing columns", "nothing usable"],
)
def test_a_file_that_holds_no_bars_is_refused(
    command: Command, engine: Engine, tmp_path: Path, text: str, message: str
) -> None:
    done = command("backfill", "--csv_path", write(tmp_path, text), "--symbol", "ABC")
    assert done.returncode == 1, done.stderr
    assert message in done.stderr
    assert rows(engine, "SELECT count(*) FROM bars") == [(0,)]


def test_a_missing_file_is_named(command: Command) -> None:
    done = command("backfill", "--csv_path", "/nowhere/bars.csv", "--symbol", "ABC")
    assert done.returncode == 1
    assert "--csv_path /nowhere/bars.csv: no such file" in done.stderr


def test_bad_rows_are_set_aside_with_reasons_and_good_rows_go_in(
    command: Command, engine: Engine, tmp_path: Path
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
    done = command("backfill", "--csv_path", path, "--symbol", "ABC")
    assert done.returncode == 0, done.stderr
    assert "5 new or changed" in done.stdout
    assert "9 set aside" in done.stdout
    found = rows(engine, "SELECT to_char(time AT TIME ZONE 'UTC', 'HH24:MI'), close FROM bars ORDER BY time")
    assert found == [("00:00", 1.0), ("00:01", 1.15), ("00:02", 1.2), ("00:03", 1.3), ("00:04", 1.4)]
    reasons = dict(rows(engine, "SELECT row_number, reason FROM bars_set_aside"))
    assert reasons[3] == "time is repeated; the last row of that time is kept"
    assert reasons[7] == reasons[8] == "price is not a number"
    assert reasons[9] == reasons[10] == "price is zero or negative"
    assert "times off its neighbours" in reasons[11]
    assert reasons[12] == "high is below low"
    assert reasons[13] == "time is not a whole minute"
    assert reasons[14] == "volume is negative"
    again = command("backfill", "--csv_path", path, "--symbol", "ABC")
    assert "0 new or changed, 5 there already" in again.stdout


def test_an_empty_database_says_how_to_fill_it(command: Command) -> None:
    done = command("analyze")
    assert done.returncode == 1
    assert "the database holds no bars; load some with `hybrid-ml backfill" in done.stderr
    assert done.stderr.count("Traceback") == 0


def test_an_unknown_symbol_is_told_which_there_are(command: Command, tmp_path: Path) -> None:
    command("backfill", "--csv_path", write(tmp_path, GOOD), "--symbol", "ABC")
    done = command("analyze", "--symbol", "XYZ", "--disable_sleep_window")
    assert done.returncode == 1
    assert "no bars of XYZ in the database (symbols there: ABC)" in done.stderr


def test_too_few_bars_name_the_minimum(command: Command, tmp_path: Path) -> None:
    command("backfill", "--csv_path", write(tmp_path, GOOD), "--symbol", "ABC")
    done = command("train")
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
def test_a_database_that_cannot_be_used_is_named_at_once(command: Command, connection_string: str, text: str) -> None:
    done = command("analyze", NEON_CONN_STR=connection_string)
    assert done.returncode == 1
    assert text in done.stderr
    assert "s3cret" not in done.stdout + done.stderr


def test_a_setting_that_cannot_be_used_is_named(command: Command) -> None:
    done = command("analyze", HYBRID_ML_NUM_THREADS="many")
    assert done.returncode == 1
    assert "HYBRID_ML_NUM_THREADS" in done.stderr


def test_bars_of_a_file_can_be_judged_without_the_database_holding_them(
    command: Command, engine: Engine, tmp_path: Path
) -> None:
    path = tmp_path / "bars.parquet"
    simulate_bars(AS_OF, bars=4_000).to_parquet(path)
    moment = AS_OF.strftime("%Y-%m-%dT%H:%M")
    done = command(
        "analyze", "--source", "csv", "--csv_path", str(path), "--symbol", "ABC", "--as_of", moment, "--json"
    )
    assert done.returncode == 0, done.stderr
    assert rows(engine, "SELECT count(*) FROM bars") == [(0,)]
    assert json.loads(done.stdout)["analyses"][0]["fell_back"] is True
