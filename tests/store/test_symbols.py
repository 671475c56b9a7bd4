"""Symbols listed, removed and renamed, and bars removed, on a real PostgreSQL with models, answers and a feed."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pandas as pd
import pytest
from sqlalchemy import Engine, text

from hybrid_ml.bot.handler import CommandHandler
from hybrid_ml.config.settings import load_settings
from hybrid_ml.errors import BadInput, DataUnavailable, ModelUnavailable, SymbolBusy
from hybrid_ml.feeds.history import Loaded, Page, Plan, load_history, plan_history, plan_repair
from hybrid_ml.feeds.refresh import refresh_bars
from hybrid_ml.learning.model import HybridModel
from hybrid_ml.learning.rows import Window
from hybrid_ml.schemas.bot_status import BotCommand
from hybrid_ml.schemas.symbol_reports import BarsRemoval, Removal, Rename
from hybrid_ml.store import model_registry as registry
from hybrid_ml.store import predictions
from hybrid_ml.store.bars import store_bars
from hybrid_ml.store.coverage import Instrument, read_instruments
from hybrid_ml.store.locks import symbol_locks
from hybrid_ml.store.model_files import MODEL_FILE, read_model, write_model
from hybrid_ml.store.symbol_tables import SYMBOL_TABLES, tables_with
from hybrid_ml.symbols import removal, renaming
from hybrid_ml.symbols.listing import list_symbols
from tests.exchange_server import Exchange, ManualTime, Market, exchange_server
from tests.flows.running import rows
from tests.outbox import prediction
from tests.simulated import hand_made_bars
from tests.store.test_exchange import COVERAGE, DAY, STORED, Load, source
from tests.store.test_pruning import NO, YES, adapter, save, trial
from tests.store.test_registry import AS_OF, later
from tests.store.test_registry import model as model  # noqa: PLC0414  # the fixtures of the registry's tests
from tests.store.test_registry import window as window  # noqa: PLC0414

MINUTE = timedelta(minutes=1)
NOW = datetime(2024, 3, 5, 12, 0, 40, tzinfo=UTC)
END = NOW.replace(second=0)
FED = "ABCUSDT"


def steady_bars(count: int, end: datetime) -> pd.DataFrame:
    """A bar each minute before `end`."""
    return hand_made_bars([100.0 + n % 7 for n in range(count)], start=end - count * MINUTE)


def nothing(_: int) -> None:
    """Progress that nobody looks at."""


@pytest.fixture
def models(home: Path) -> Path:
    return home / "models"


@pytest.fixture
def market(engine: Engine, model: HybridModel) -> Engine:
    """ABC with 4,000 bars until AS_OF, a champion in use with an adapter, others, answers, an alert, a revision."""
    store_bars(engine, "ABC", steady_bars(4_000, AS_OF))
    save(engine, model, YES)
    save(engine, later(model, 0.5), NO)
    trial(engine, model, adapter(model, 0, adopted=False), age=timedelta())
    trial(engine, model, adapter(model, 10), age=timedelta(), answered=True)
    with engine.begin() as connection:
        predictions.record(connection, prediction(AS_OF - 60 * MINUTE, model_version=model.version, signal=False))
        connection.execute(text("UPDATE predictions SET outcome = 'up' WHERE bar_time >= :at"), {"at": AS_OF})
        connection.execute(
            text(
                "INSERT INTO alerts (kind, symbol, bar_time, prediction_id, text, send_until) "
                "SELECT 'signal', symbol, bar_time, id, 'up', now() FROM predictions LIMIT 1"
            )
        )
        connection.execute(
            text(
                "INSERT INTO bar_revisions (symbol, time, open, high, low, close, volume) "
                "SELECT symbol, time, 1, 1, 1, 1, 1 FROM bars WHERE time = :at"
            ),
            {"at": AS_OF - 100 * MINUTE},
        )
        connection.execute(
            text("INSERT INTO bars_set_aside VALUES ('ABC', 'a.csv', 3, 'price is not a number', 'x', now(), NULL)")
        )
    return engine


def planned_removal(engine: Engine, symbol: str = "ABC") -> Removal:
    with engine.connect() as connection:
        return removal.plan_removal(connection, load_settings(), [symbol], NOW)[0]


def remove(engine: Engine, symbol: str = "ABC") -> Removal:
    return removal.remove(engine, load_settings(), [planned_removal(engine, symbol)], NOW, nothing)[0]


def planned_rename(engine: Engine, symbol: str = "ABC", to: str = "NEW") -> Rename:
    with engine.connect() as connection:
        return renaming.plan_rename(connection, load_settings(), symbol, to)


def rename(engine: Engine, symbol: str = "ABC", to: str = "NEW") -> Rename:
    return renaming.rename(engine, load_settings(), planned_rename(engine, symbol, to), NOW, nothing)


def content(engine: Engine, symbol: str = "ABC") -> dict[str, int]:
    """The number of rows of `symbol` in every table."""
    return {
        table: rows(engine, f"SELECT count(*) FROM {table} WHERE symbol = '{symbol}'")[0][0] for table in SYMBOL_TABLES
    }


def test_every_table_with_symbols_is_known(engine: Engine) -> None:
    found = rows(
        engine,
        "SELECT table_name FROM information_schema.columns "
        "WHERE column_name = 'symbol' AND table_schema = current_schema()",
    )
    assert {name for (name,) in found} == set(SYMBOL_TABLES)


# --- list


def test_list_of_symbols_of_files_and_feeds(market: Engine, model: HybridModel) -> None:
    store_bars(market, "OLD", steady_bars(50, AS_OF - 8 * DAY))
    with market.begin() as connection:
        connection.execute(
            text("INSERT INTO instruments VALUES ('FED', 'binance', 'FEDUSDT', '24/7', :at, NULL)"), {"at": AS_OF - DAY}
        )
        connection.execute(
            text(
                "INSERT INTO coverage VALUES ('FED', :at, :at + interval '90 minutes', 'have'), "
                "('FED', :at + interval '90 minutes', :at + interval '100 minutes', 'source_gap')"
            ),
            {"at": AS_OF - DAY},
        )
        lines = {line.symbol: line for line in list_symbols(connection, AS_OF).symbols}
    assert list(lines) == ["ABC", "FED", "OLD"]
    abc, fed = lines["ABC"], lines["FED"]
    assert (abc.feed, abc.bars, abc.last, abc.champion, abc.ended) == (None, None, AS_OF - MINUTE, True, False)
    assert (fed.feed, fed.feed_symbol, fed.calendar, fed.bars) == ("binance", "FEDUSDT", "24/7", 90)
    assert (fed.first, fed.last, fed.champion, fed.ended) == (None, None, False, False)
    assert (lines["OLD"].ended, lines["OLD"].champion) == (True, False)


# --- remove


def test_removal_shows_first_and_changes_nothing(market: Engine) -> None:
    before = content(market)
    planned = planned_removal(market)
    held = planned.holdings
    assert (held.bars, held.first, held.last) == (4_000, AS_OF - 4_000 * MINUTE, AS_OF - MINUTE)
    assert (held.revisions, held.rejected_rows, held.models, held.predictions, held.alerts) == (1, 1, 2, 2, 1)
    assert content(market) == before


def test_removal_keeps_models_answers_and_alerts(market: Engine, models: Path, model: HybridModel) -> None:
    write_model(models, model)
    before = content(market)
    assert remove(market).done
    gone = dict.fromkeys(("instruments", "bars", "coverage", "bar_revisions", "bars_set_aside"), 0)
    assert content(market) == before | gone
    assert not models.exists()
    with market.connect() as connection:
        assert registry.find_champion(connection, "ABC") is not None


def test_removal_is_repeated_and_finishes_what_was_left(market: Engine, models: Path, model: HybridModel) -> None:
    """Ended after the files, before the database."""
    write_model(models, model)
    (models / MODEL_FILE).unlink()
    assert remove(market).done
    before = content(market)
    with pytest.raises(BadInput, match="--symbols ABC: it is removed already; its models, predictions and alerts stay"):
        remove(market)
    assert content(market) == before


def interrupt(_: int) -> None:
    raise KeyboardInterrupt


def test_change_that_is_interrupted_begins_again(
    market: Engine, models: Path, model: HybridModel, window: Window
) -> None:
    """In the middle of its transaction; the local copies have gone by then."""
    write_model(models, model)
    store_bars(market, "XYZ", steady_bars(50, AS_OF))
    before = content(market)
    plan = [planned_removal(market, "XYZ"), planned_removal(market)]
    with pytest.raises(KeyboardInterrupt):
        removal.remove(market, load_settings(), plan, NOW, interrupt)
    with pytest.raises(KeyboardInterrupt):
        renaming.rename(market, load_settings(), planned_rename(market), NOW, interrupt)
    assert (content(market), content(market, "XYZ")["bars"]) == (before, 50)
    rename(market)
    with market.connect() as connection:
        serving = registry.find_champion(connection, "NEW")
        assert serving is not None
        assert registry.fetch(connection, serving).base.symbol == "NEW"
    removal.remove(
        market, load_settings(), [planned_removal(market, "XYZ"), planned_removal(market, "NEW")], NOW, nothing
    )
    assert rows(market, "SELECT count(*) FROM bars") == [(0,)]


def test_outcome_that_is_known_is_recorded_before_its_bars_go(market: Engine) -> None:
    assert rows(market, "SELECT outcome FROM predictions ORDER BY bar_time")[0] == (None,)
    remove(market)
    assert rows(market, "SELECT outcome IS NOT NULL FROM predictions") == [(True,), (True,)]


def test_removal_leaves_other_symbols_and_their_copies(market: Engine, models: Path, model: HybridModel) -> None:
    store_bars(market, "XYZ", steady_bars(50, AS_OF))
    write_model(models / "XYZ", model)
    before = content(market, "XYZ")
    remove(market)
    assert content(market, "XYZ") == before
    assert (models / "XYZ" / MODEL_FILE).is_file()


def test_symbol_in_use_is_not_removed(market: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HYBRID_ML_LOCK_WAIT_SECONDS", "0")
    before = content(market)
    with symbol_locks(market, 0) as locks:
        locks.take("ABC")
        with pytest.raises(SymbolBusy, match="another run is working on ABC"):
            remove(market)
        with pytest.raises(SymbolBusy, match="another run is working on ABC"):
            rename(market)
    assert content(market) == before


def test_setting_that_names_the_symbol_is_named(market: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HYBRID_ML_SYMBOLS", "XYZ,ABC")
    monkeypatch.setenv("TELEGRAM_CHATS", '[{"chat_id": "42", "symbols": ["ABC"]}]')
    assert planned_removal(market).named_in == ["HYBRID_ML_SYMBOLS", "TELEGRAM_CHATS"]
    assert planned_rename(market).named_in == ["HYBRID_ML_SYMBOLS", "TELEGRAM_CHATS"]


@pytest.mark.parametrize("command", ["status", "signals", "record"])
def test_bot_speaks_of_a_removed_symbol_that_is_configured(
    market: Engine, monkeypatch: pytest.MonkeyPatch, command: str
) -> None:
    monkeypatch.setenv("HYBRID_ML_SYMBOLS", "ABC")
    remove(market)
    handler = CommandHandler(load_settings(), market, lambda: AS_OF + DAY)
    request = BotCommand(1, "42", "42", command, AS_OF)
    taken = handler.take(request)
    assert taken is not None
    answer = handler.words(request, taken)
    assert {"status": "⚠ no bars", "signals": "UP", "record": "ABC"}[command] in answer


@pytest.mark.parametrize(
    ("symbol", "hint"), [("abc", "did you mean ABC?"), ("ABCD", "did you mean ABC?"), ("QQQ", "symbols there: ABC")]
)
def test_unknown_symbol_is_refused_with_near_names(market: Engine, symbol: str, hint: str) -> None:
    with pytest.raises(BadInput, match=f"--symbols {symbol}: no such symbol in the database; {hint}"):
        planned_removal(market, symbol)
    with pytest.raises(BadInput, match=f"--symbol {symbol}: no such symbol in the database; {hint}"):
        planned_rename(market, symbol)
    with pytest.raises(BadInput, match=f"--symbol {symbol}: no such symbol in the database; {hint}"):
        planned_bars(market, AS_OF, None, symbol=symbol)


# --- rename


def test_rename_changes_every_table_and_nothing_else(market: Engine) -> None:
    before = content(market)
    closes = rows(market, "SELECT time, close FROM bars ORDER BY time")
    answers = rows(market, "SELECT id, bar_time, close, outcome FROM predictions ORDER BY id")
    assert rename(market).done
    assert set(content(market).values()) == {0}
    renamed = rows(market, "SELECT version, reason FROM model_events WHERE event = 'renamed' ORDER BY version")
    bases = rows(market, "SELECT version FROM model_versions WHERE kind IN ('base', 'scratch') ORDER BY version")
    assert renamed == [(version, "the symbol was ABC before") for (version,) in bases]
    assert content(market, "NEW") == before | {"model_events": before["model_events"] + len(renamed)}
    assert rows(market, "SELECT time, close FROM bars ORDER BY time") == closes
    assert rows(market, "SELECT id, bar_time, close, outcome FROM predictions ORDER BY id") == answers


def test_renamed_champion_is_loaded_and_answers_as_before(
    market: Engine, models: Path, model: HybridModel, window: Window
) -> None:
    write_model(models, model)
    features = window.rows.last(50).features
    with market.connect() as connection:
        serving = registry.find_serving(connection, "ABC", AS_OF + DAY)
        assert serving is not None
        before = registry.fetch(connection, serving)
    renamed = rename(market)
    with market.connect() as connection:
        serving = registry.find_serving(connection, "NEW", AS_OF + DAY)
        assert serving is not None
        after = registry.fetch(connection, serving)
    assert (after.base.symbol, after.adapted, serving.is_champion) == ("NEW", True, True)
    assert after.base.version == renamed.champion
    assert after.version == serving.version
    assert after.version.startswith("NEW@")
    assert (after.probabilities(features) == before.probabilities(features)).all()
    assert read_model(models, serving.file, "NEW").version == after.version, "NEW is the first symbol now"


def test_versions_of_a_renamed_symbol_are_consistent(market: Engine, model: HybridModel) -> None:
    """Those whose bytes are pruned, too, and what refers to them."""
    old = later(model, -7)
    save(market, old, NO)
    trial(market, old, adapter(old, -7 * 1440), age=timedelta())
    with market.begin() as connection:
        connection.execute(
            text("UPDATE model_versions SET bytes = NULL WHERE version = :version"), {"version": old.version}
        )
    rename(market)
    assert rows(market, "SELECT version FROM model_versions WHERE version NOT LIKE 'NEW@%' OR symbol <> 'NEW'") == []
    damaged = """SELECT version FROM model_versions WHERE bytes IS NOT NULL
        AND (length <> octet_length(bytes) OR sha256 <> encode(sha256(bytes), 'hex'))"""
    assert rows(market, damaged) == []
    for table, column in (("predictions", "model_version"), ("model_events", "version")):
        unknown = f"SELECT {column} FROM {table} WHERE {column} NOT IN (SELECT version FROM model_versions)"
        assert rows(market, unknown) == []
    with market.connect() as connection:
        for version, parent in connection.execute(text("SELECT version, parent FROM model_versions")):
            assert parent is None or parent.startswith("NEW@"), version


def test_rename_back_and_forth_gives_the_same_bytes(market: Engine) -> None:
    everything = "SELECT version, parent, status, sha256, length, md5(bytes) FROM model_versions ORDER BY version"
    rename(market)
    once = rows(market, everything)
    rename(market, "NEW", "ABC")
    rename(market, "ABC", "NEW")
    assert rows(market, everything) == once


@pytest.mark.parametrize("table", SYMBOL_TABLES)
def test_name_that_is_taken_anywhere_is_refused(market: Engine, table: str) -> None:
    rename(market, "ABC", "TAKEN")
    with market.begin() as connection:
        save_one_row(connection, table)
    store_bars(market, "ABC", steady_bars(50, AS_OF))
    with pytest.raises(BadInput, match=rf"--to TAKEN: there is something of that name already \(.*{table}.*another"):
        planned_rename(market, "ABC", "TAKEN")


def save_one_row(connection: object, table: str) -> None:
    """Nothing but the row of `table` is of TAKEN afterwards, where it can be alone."""
    statement = {
        "instruments": "INSERT INTO instruments VALUES ('TAKEN', 'binance', 'TAKEN', '24/7', NULL, NULL)",
        "coverage": "INSERT INTO coverage VALUES ('TAKEN', now(), now() + interval '1 hour', 'have')",
        "answers_not_counted": "INSERT INTO answers_not_counted (symbol, bar_time, as_of, close, p_down, p_flat, p_up, "
        "threshold, direction, confidence, model_version, preset, gates, signal, degraded, fell_back, reason) "
        "SELECT symbol, bar_time, as_of, close, p_down, p_flat, p_up, threshold, direction, confidence, model_version, "
        "preset, gates, signal, degraded, fell_back, 'twice' FROM predictions WHERE symbol = 'TAKEN'",
    }.get(table, "SELECT 1")
    connection.execute(text(statement))  # type: ignore[attr-defined]


def test_simulated_symbol_keeps_its_name(market: Engine) -> None:
    store_bars(market, "DEMO", steady_bars(50, AS_OF))
    for symbol, to in (("DEMO", "BTCUSD"), ("ABC", "DEMO")):
        with pytest.raises(BadInput, match="DEMO is the name by which simulated bars are known"):
            planned_rename(market, symbol, to)


def test_damaged_champion_is_not_renamed(market: Engine, model: HybridModel) -> None:
    before = content(market)
    with market.begin() as connection:
        connection.execute(
            text("UPDATE model_versions SET bytes = 'x' WHERE version = :version"), {"version": model.version}
        )
    with pytest.raises(ModelUnavailable, match="are damaged; train another one before, with `hybrid-ml train"):
        rename(market)
    assert content(market) == before


# --- bars


def planned_bars(
    engine: Engine, since: datetime | None, until: datetime | None, *, symbol: str = "ABC", for_good: bool = False
) -> BarsRemoval:
    with engine.connect() as connection:
        return removal.plan_bars_removal(connection, symbol, since, until, for_good=for_good)


def remove_bars(
    engine: Engine, since: datetime | None, until: datetime | None, *, symbol: str = "ABC", for_good: bool = False
) -> BarsRemoval:
    planned = planned_bars(engine, since, until, symbol=symbol, for_good=for_good)
    return removal.remove_period(engine, load_settings(), planned, since, until, NOW)


def test_bars_of_a_period_are_removed_with_their_revisions(market: Engine) -> None:
    since, until = AS_OF - 100 * MINUTE, AS_OF - 50 * MINUTE
    shown = planned_bars(market, since, until)
    assert (shown.bars, shown.first, shown.last) == (50, since, until - MINUTE)
    assert (shown.revisions, shown.predictions, shown.asked_again) == (1, 1, False)
    assert content(market)["bars"] == 4_000
    remove_bars(market, since, until)
    assert content(market)["bars"] == 3_950
    assert content(market)["bar_revisions"] == 0
    assert rows(market, f"SELECT count(*) FROM bars WHERE time >= '{since}' AND time < '{until}'") == [(0,)]
    assert rows(market, "SELECT outcome IS NOT NULL FROM predictions") == [(True,), (True,)]


@pytest.mark.parametrize(("since", "until", "left"), [(None, AS_OF - DAY, 1_440), (AS_OF - DAY, None, 2_560)])
def test_period_without_a_limit(market: Engine, since: datetime | None, until: datetime | None, left: int) -> None:
    remove_bars(market, since, until)
    assert content(market)["bars"] == left


def test_period_without_bars_is_refused_with_the_bars_there_are(market: Engine) -> None:
    with pytest.raises(
        DataUnavailable,
        match=r"ABC has no bar from 2024-02-01T00:00 until 2024-02-02T00:00; its bars are from 2024-01-29T05:20 to "
        r"2024-01-31T23:59 UTC",
    ):
        planned_bars(market, AS_OF, AS_OF + DAY)


# --- with a feed


@pytest.fixture
def time() -> ManualTime:
    return ManualTime(NOW)


@pytest.fixture
def exchange(time: ManualTime) -> Iterator[Exchange]:
    with exchange_server(Exchange(time.exchange_now, {FED: Market(listed=NOW - 400 * DAY)})) as served:
        yield served


@pytest.fixture
def load(engine: Engine, exchange: Exchange, time: ManualTime) -> Load:
    """With a day of history."""
    load = Load(engine, exchange, time)
    load(FED)
    exchange.requests.clear()
    return load


def instrument(engine: Engine, symbol: str) -> Instrument:
    with engine.connect() as connection:
        return read_instruments(connection, [symbol])[0]


def repair(load: Load, symbol: str) -> Loaded:
    plan = plan_repair(load.engine, load.feed, instrument(load.engine, symbol))
    return load_history(load.engine, load.feed, plan, nothing)


def test_feed_goes_on_under_the_new_name(engine: Engine, exchange: Exchange, load: Load, time: ManualTime) -> None:
    rename(engine, FED, "BTC")
    assert instrument(engine, "BTC").feed_symbol == FED
    time.wait(600)
    refreshed = refresh_bars(engine, load.feed, instrument(engine, "BTC"), END + 10 * MINUTE, time.wait)
    assert refreshed.newest == END + 9 * MINUTE
    exchange.markets[FED].delisted = END + 20 * MINUTE
    time.wait(3 * 3_600)
    repair(load, "BTC")
    assert instrument(engine, "BTC").delisted_at == END + 20 * MINUTE
    load("BTC", days=2, until=END)
    assert rows(engine, STORED.format("BTC")) == source(exchange, END - 2 * DAY, END + 20 * MINUTE, FED)
    assert tables_with_rows(engine, FED) == []


def tables_with_rows(engine: Engine, symbol: str) -> list[str]:
    with engine.connect() as connection:
        return tables_with(connection, symbol)


@pytest.mark.parametrize("change", [remove, rename])
def test_load_that_began_before_brings_nothing_back(engine: Engine, load: Load, change: object) -> None:
    plan = plan_history(engine, load.feed, FED, 3, END)
    change(engine, FED)  # type: ignore[operator]
    with pytest.raises(BadInput, match=f"{FED}: it was removed or renamed while its bars were loaded"):
        load_history(engine, load.feed, plan, nothing)
    assert tables_with_rows(engine, FED) == []


def test_removed_symbol_of_a_feed_is_neither_refreshed_nor_repaired(engine: Engine, load: Load) -> None:
    remove(engine, FED)
    assert tables_with_rows(engine, FED) == []
    with engine.connect() as connection:
        assert read_instruments(connection, [FED]) == []


def test_removed_bars_of_a_feed_are_asked_for_again(engine: Engine, exchange: Exchange, load: Load) -> None:
    since, until = END - 600 * MINUTE, END - 300 * MINUTE
    assert planned_bars(engine, since, until, symbol=FED).asked_again
    remove_bars(engine, since, until, symbol=FED)
    assert rows(engine, COVERAGE.format(FED)) == [(END - DAY, since, "have"), (until, END, "have")]
    assert repair(load, FED).written == 300
    assert rows(engine, STORED.format(FED)) == source(exchange, END - DAY, END, FED)


def test_bars_removed_for_good_are_not_asked_for_again(engine: Engine, exchange: Exchange, load: Load) -> None:
    since, until = END - 600 * MINUTE, END - 300 * MINUTE
    assert not remove_bars(engine, since, until, symbol=FED, for_good=True).asked_again
    assert rows(engine, COVERAGE.format(FED)) == [
        (END - DAY, since, "have"),
        (since, until, "source_gap"),
        (until, END, "have"),
    ]
    assert repair(load, FED).pages == 0
    assert len(rows(engine, STORED.format(FED))) == 1_140


def test_oldest_bars_of_a_feed_do_not_come_back(engine: Engine, load: Load) -> None:
    assert not planned_bars(engine, None, END - 300 * MINUTE, symbol=FED).asked_again
    remove_bars(engine, None, END - 300 * MINUTE, symbol=FED)
    assert repair(load, FED).pages == 0
    assert planned_bars(engine, None, END, symbol=FED).asked_again, "a feed without any answer is asked for the newest"


def test_plan_of_another_symbol_is_not_touched(engine: Engine, load: Load) -> None:
    gone = Instrument("GONE", "binance", FED)
    with pytest.raises(BadInput, match="GONE: it was removed or renamed"):
        load_history(engine, load.feed, Plan(gone, END - DAY, END, [Page(END - DAY, END - DAY + MINUTE)]), nothing)
    assert tables_with_rows(engine, "GONE") == []
