"""`hybrid-ml symbols …` and `hybrid-ml bars …`, as a user runs them."""

import json
import re
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from sqlalchemy import Engine

from flows.repair import repair
from hybrid_ml.market.bars import clean_bars
from hybrid_ml.market.simulation import simulate_bars
from hybrid_ml.schemas.requests import RepairRequest
from hybrid_ml.store.bars import store_bars
from tests.conftest import Command
from tests.exchange_server import Exchange, Market, exchange_server
from tests.flows.running import AS_OF, page, rows, run

MOMENT = AS_OF.strftime("%Y-%m-%dT%H:%M")
TRAIN = ("train", "--symbol", "ABC", "--limit", "3000", "--flat_share", "0.3333")


@pytest.fixture
def market(engine: Engine) -> Engine:
    store_bars(engine, "ABC", clean_bars(simulate_bars(AS_OF, bars=4_000)).bars)
    store_bars(engine, "OLD", clean_bars(simulate_bars(AS_OF - timedelta(days=30), bars=60)).bars)
    return engine


def count(engine: Engine, symbol: str) -> int:
    return int(rows(engine, f"SELECT count(*) FROM bars WHERE symbol = '{symbol}'")[0][0])


def test_list_of_no_symbols_names_what_loads_some(command_here: Command) -> None:
    done = command_here("symbols", "list")
    assert done.returncode == 0
    assert "no symbols yet; `hybrid-ml symbols add`" in done.stdout
    assert json.loads(command_here("symbols", "list", "--json").stdout)["symbols"] == []


def test_list_shows_every_symbol(command_here: Command, market: Engine) -> None:
    done = command_here("symbols", "list")
    assert done.returncode == 0, done.stderr
    (line,) = [line for line in done.stdout.splitlines() if line.strip().startswith("OLD")]
    assert re.search(r"OLD +files +2024-01-03 +2024-01-03 \d\d:\d\d +– +ended", line)
    listed = json.loads(command_here("symbols", "list", "--json").stdout)["symbols"]
    assert [(entry["symbol"], entry["feed"], entry["champion"]) for entry in listed] == [
        ("ABC", None, False),
        ("OLD", None, False),
    ]


def test_group_without_a_command_shows_its_commands(command_here: Command) -> None:
    for group, commands in (("symbols", "{list,add,remove,rename}"), ("bars", "{remove}")):
        done = command_here(group)
        assert (done.returncode, done.stderr) == (0, "")
        assert commands in done.stdout


def test_removal_shows_what_would_go_then_does_it(command_here: Command, market: Engine) -> None:
    bars = count(market, "OLD")
    shown = command_here("symbols", "remove", "--symbols", "OLD")
    assert shown.returncode == 0, shown.stderr
    assert f"OLD  would go: {bars} bars, 2024-01-03 " in shown.stdout
    assert "these stay: 0 models in the registry, 0 predictions, 0 alerts" in shown.stdout
    assert "nothing was removed; --yes does it" in shown.stdout
    assert count(market, "OLD") == bars
    done = command_here("symbols", "remove", "--symbol", "OLD", "--yes", "--json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["done"] is True
    assert count(market, "OLD") == 0
    again = command_here("symbols", "remove", "--symbols", "OLD", "--yes")
    assert again.returncode == 1
    assert "--symbols OLD: no such symbol in the database; symbols there: ABC" in again.stderr


def test_one_unknown_symbol_of_several_removes_none(command_here: Command, market: Engine) -> None:
    done = command_here("symbols", "remove", "--symbols", "OLD,ABX", "--yes")
    assert done.returncode == 1
    assert "--symbols ABX: no such symbol in the database; did you mean ABC?" in done.stderr
    assert count(market, "OLD") > 0


def test_analysis_after_a_rename_uses_the_champion(command_here: Command, market: Engine) -> None:
    assert command_here(*TRAIN, "--as_of", MOMENT).returncode == 0
    shown = command_here("symbols", "rename", "--symbol", "ABC", "--to", "BTC/USD")
    assert "ABC would become BTC/USD" in shown.stdout
    assert "champion: ABC@" in shown.stdout
    assert "nothing was renamed; --yes does it" in shown.stdout
    assert count(market, "ABC") > 0
    done = command_here("symbols", "rename", "--symbol", "ABC", "--to", "BTC/USD", "--yes")
    assert done.returncode == 0, done.stderr
    assert "ABC is now BTC/USD" in done.stdout
    assert "champion: BTC/USD@" in done.stdout
    asked = command_here("analyze", "--symbol", "BTC/USD", "--as_of", MOMENT, "--json")
    assert asked.returncode == 0, asked.stderr
    (answer,) = json.loads(asked.stdout)["analyses"]
    assert answer["fell_back"] is False
    assert answer["model"]["version"].startswith("BTC/USD@")
    assert rows(market, "SELECT count(*) FROM model_versions WHERE kind <> 'adapter'") == [(1,)]


def test_rename_to_an_existing_symbol_is_refused(command_here: Command, market: Engine) -> None:
    done = command_here("symbols", "rename", "--symbol", "ABC", "--to", "OLD", "--yes")
    assert done.returncode == 1
    assert "--to OLD: there is something of that name already (bars); choose another name" in done.stderr
    assert count(market, "ABC") == rows(market, "SELECT count(*) FROM bars")[0][0] - count(market, "OLD")


def test_bars_of_a_period_are_shown_then_removed(command_here: Command, market: Engine) -> None:
    period = ["--symbol", "ABC", "--from", "2024-02-01", "--until", "2024-02-01T12:00"]
    within = "SELECT count(*) FROM bars WHERE time >= '2024-02-01Z' AND time < '2024-02-01T12:00Z'"
    ((before,),) = rows(market, within)
    shown = command_here("bars", "remove", *period)
    assert shown.returncode == 0, shown.stderr
    assert f"ABC  would go: {before} bars, 2024-02-01 00:0" in shown.stdout
    assert "nothing was removed; --yes does it" in shown.stdout
    assert rows(market, within) == [(before,)]
    done = command_here("bars", "remove", *period, "--yes")
    assert f"ABC  removed: {before} bars" in done.stdout
    assert rows(market, within) == [(0,)]
    again = command_here("bars", "remove", *period, "--yes")
    assert again.returncode == 1
    assert "ABC has no bar from 2024-02-01T00:00 until 2024-02-01T12:00; its bars are from 2024-01-30T" in again.stderr


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["symbols", "remove"], "--symbols is required"),
        (["symbols", "remove", "--symbols", "a@b"], "'a@b' cannot name a symbol"),
        (["symbols", "rename", "--symbol", "ABC"], "--to is required"),
        (["symbols", "rename", "--symbol", "ABC", "--to", "A,B"], "'A,B' cannot name a symbol"),
        (["symbols", "add", "--symbols", ""], "'' cannot name a symbol"),
        (
            ["bars", "remove", "--symbol", "ABC"],
            "state --from, --until or both; `hybrid-ml symbols remove --symbols ABC`",
        ),
        (
            ["bars", "remove", "--symbol", "ABC", "--from", "monday"],
            "'monday' is no time; write it like 2018-06-01T10:20",
        ),
        (
            ["bars", "remove", "--symbol", "ABC", "--from", "2024-02-02", "--until", "2024-02-01"],
            "--from 2024-02-02T00:00 is not before --until 2024-02-01T00:00",
        ),
    ],
)
def test_invalid_flags_are_named(command_here: Command, arguments: list[str], message: str) -> None:
    done = command_here(*arguments)
    assert (done.returncode, done.stdout) == (2, "")
    assert message in done.stderr


def test_symbol_that_ended_is_named_once_and_not_asked(
    command_here: Command, market: Engine, caplog: pytest.LogCaptureFixture
) -> None:
    assert command_here("train", "--limit", "3000", "--as_of", MOMENT).returncode == 0
    assert rows(market, "SELECT DISTINCT symbol FROM model_versions") == [("ABC",)]
    lines = [record.getMessage() for record in caplog.records if "; ended" in record.getMessage()]
    assert lines == ["as of 2024-02-02 10:20 UTC: ABC, bars from db; ended: OLD (last bar 2024-01-03)"]


def test_review_leaves_out_what_is_over_and_reviews_it_where_it_is_named(command_here: Command, market: Engine) -> None:
    for symbol in ("ABC", "OLD"):
        assert command_here("analyze", "--symbol", symbol, "--as_of", MOMENT).returncode in (0, 1)
    assert command_here("symbols", "remove", "--symbols", "ABC", "--yes").returncode == 0
    store_bars(market, "XYZ", clean_bars(simulate_bars(AS_OF, bars=60)).bars)
    later = (AS_OF + timedelta(days=6)).strftime("%Y-%m-%dT%H:%M")
    within = json.loads(command_here("review", "--as_of", later, "--json").stdout)
    assert within["symbols"] == ["ABC", "XYZ"], "ABC has answers of these days"
    after = json.loads(command_here("review", "--as_of", later, "--days", "3", "--json").stdout)
    assert after["symbols"] == ["XYZ"]
    named = command_here("review", "--symbol", "ABC", "--as_of", later, "--json")
    assert named.returncode == 0, named.stderr
    assert json.loads(named.stdout)["symbols"] == ["ABC"]


@pytest.fixture
def exchange() -> Iterator[Exchange]:
    def now() -> datetime:
        return datetime.now(UTC)

    with exchange_server(Exchange(now, {"ABCUSDT": Market(listed=now() - timedelta(days=90))})) as served:
        yield served


def test_added_symbol_has_history_and_model(command_here: Command, engine: Engine, exchange: Exchange) -> None:
    here = {"HYBRID_ML_BINANCE_URL": exchange.url}
    done = command_here("symbols", "add", "--symbols", "ABCUSDT,NONE", "--days", "3", **here)
    assert done.returncode == 1, "one of them failed"
    assert "ABCUSDT  20" in done.stdout
    assert "is in use from now on: there was no champion" in done.stdout
    assert "binance has no symbol NONE" in done.stderr
    assert 4_300 < count(engine, "ABCUSDT") < 4_330
    (listed,) = json.loads(command_here("symbols", "list", "--json").stdout)["symbols"]
    assert (listed["feed"], listed["champion"], listed["ended"]) == ("binance", True, False)
    assert listed["bars"] == count(engine, "ABCUSDT")
    again = command_here("symbols", "add", "--symbols", "ABCUSDT", "--days", "3", "--json", **here)
    assert again.returncode == 0, again.stderr
    assert json.loads(again.stdout)["trainings"][0]["symbol"] == "ABCUSDT"


def test_data_is_shown_as_table_json_and_picture(command_here: Command, engine: Engine, tmp_path: Path) -> None:
    assert "no symbols yet" in command_here("data").stdout
    now = datetime.now(UTC)
    store_bars(engine, "ABC", clean_bars(simulate_bars(now, bars=3_000)).bars)
    store_bars(engine, "OLD", clean_bars(simulate_bars(now - timedelta(days=30), bars=60)).bars)
    path = tmp_path / "bars.png"
    done = command_here("data", "--days", "3", "--picture", str(path))
    assert done.returncode == 0, done.stderr
    assert re.search(r"ABC +files +\d\d\.\d % +– +– +– +0 +0 +\d{4}-", done.stdout)
    assert "ended, left out: OLD (last bar " in done.stdout
    assert f"picture: {path}" in done.stdout
    assert path.read_bytes().startswith(b"\x89PNG")
    (data,) = json.loads(command_here("data", "--symbol", "OLD", "--days", "40", "--json").stdout)["symbols"]
    assert (data["symbol"], sum(day["bars"] for day in data["days"])) == ("OLD", count(engine, "OLD"))


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["--days", "0"], 2, "--days 0: Input should be greater than or equal to 1"),
        (["--symbols", "ABX"], 1, "--symbols ABX: no such symbol in the database; did you mean ABC?"),
        (["--picture", "/nowhere/bars.png"], 1, "--picture /nowhere/bars.png cannot be written"),
    ],
)
def test_unusable_flags_of_data_are_named(
    command_here: Command, market: Engine, arguments: list[str], code: int, message: str
) -> None:
    done = command_here("data", *arguments)
    assert (done.returncode, done.stdout) == (code, "")
    assert message in done.stderr


def test_repair_writes_the_page_about_bars(
    command_here: Command, engine: Engine, exchange: Exchange, tmp_path: Path
) -> None:
    here = {"HYBRID_ML_BINANCE_URL": exchange.url}
    loading = ["--source", "exchange", "--symbols", "ABCUSDT", "--days", "2"]
    assert command_here("backfill", *loading, **here).returncode == 0
    state, _ = run(repair, RepairRequest())
    assert state.is_completed()
    text = page("bars")
    assert re.search(r"\| ABCUSDT \| binance \| \d+(\.\d)? % \|", text)
    assert "](data:image/png;base64," in text
