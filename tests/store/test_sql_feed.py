"""Feed `sql`: tables that somebody else fills, on a real PostgreSQL, as the SELECT of a person reads them."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine, make_url, text

from hybrid_ml.config.settings import Settings, load_settings
from hybrid_ml.errors import BadInput, ExchangeRefused, ExchangeUnavailable, HybridMLError, StoreUnreachable
from hybrid_ml.feeds import sql_source
from hybrid_ml.feeds.feed import Feed
from hybrid_ml.feeds.history import Loaded, load_history, plan_history, plan_repair
from hybrid_ml.feeds.opening import open_feed
from hybrid_ml.feeds.refresh import refresh_all, refresh_bars
from hybrid_ml.store.coverage import Instrument, read_instruments
from hybrid_ml.store.engine import other_engine
from tests.databases import database
from tests.exchange_server import Exchange, Market, exchange_server
from tests.flows.running import rows
from tests.store.test_exchange import COVERAGE, DAY

MINUTE = timedelta(minutes=1)
PASSWORD = "s3cr3t"
ROWS = 1_500
TABLE = """
    CREATE TABLE IF NOT EXISTS candles
    (pair text, bucket {type}, "Open" numeric, h real, low double precision, close numeric, vol int)
"""
FILL = """
    INSERT INTO candles SELECT :pair, {time}, 100 + n % 7, 101 + n % 7, 99 + n % 7, 100.5 + n % 7, 1 + n % 9
    FROM generate_series(1, :count) AS n,
    LATERAL (SELECT date_trunc('minute', now()) - (n + :ended) * interval '1 minute' AS t)
"""
SELECT = "SELECT bucket AS time, * FROM candles WHERE pair = :symbol AND bucket >= :since"
DOUBLE = """
    INSERT INTO candles SELECT 'DOUBLE', bucket, 1, 1, 1, 1, n FROM candles, generate_series(1, 3) AS n
    WHERE bucket < now() - interval '20 hours'
"""
STORED = "SELECT time, open, high, low, close, volume FROM bars WHERE symbol = '{}' ORDER BY time"
UNIX_TIME = "extract(epoch FROM t)"


def fill(
    engine: Engine, type_: str = "timestamptz", time: str = "t", pair: str = "ABC", count: int = ROWS, ended: int = 4
) -> None:
    """A table of a collector whose newest row begins `ended` + 1 minutes ago, or a little more."""
    with engine.begin() as connection:
        connection.execute(text(TABLE.format(type=type_)))
        connection.execute(text(FILL.format(time=time)), {"pair": pair, "count": count, "ended": ended})


def now(engine: Engine) -> datetime:
    """The clock of the database."""
    return rows(engine, "SELECT now()")[0][0].astimezone(UTC)


def stated(select: str, url: str = "") -> Settings:
    return load_settings().model_copy(
        update={"hybrid_ml_sql_feed": select, "hybrid_ml_sql_feed_url": type(load_settings().neon_conn_str)(url)}
    )


def no_wait(_: float) -> None:
    raise AssertionError("a table is never waited for")


def opened(engine: Engine, select: str = SELECT, url: str = "") -> Feed:
    with open_feed("sql", stated(select, url), engine, lambda: datetime.now(UTC), no_wait) as feed:
        return feed


def load(engine: Engine, select: str = SELECT, symbol: str = "ABC", days: int = 3, url: str = "") -> Loaded:
    feed = opened(engine, select, url)
    return load_history(engine, feed, plan_history(engine, feed, symbol, days, None), lambda _: None)


def in_table(engine: Engine, time: str = "bucket") -> list[tuple[Any, ...]]:
    """What a load must end with."""
    return rows(engine, f'SELECT {time}, "Open"::float8, h::float8, low, close::float8, vol FROM candles ORDER BY 1')


@pytest.fixture
def collected(engine: Engine) -> Engine:
    """The project's database, with a table of a collector in it."""
    fill(engine)
    return engine


def test_table_is_a_feed_under_its_own_names(collected: Engine) -> None:
    loaded = load(collected)
    expected = in_table(collected)
    assert rows(collected, STORED.format("ABC")) == expected
    assert loaded.minutes == {"have": ROWS, "no_trades": 0, "source_gap": 0, "unknown": 0}
    assert rows(collected, COVERAGE.format("ABC")) == [(expected[0][0], expected[-1][0] + MINUTE, "have")]
    assert rows(collected, "SELECT feed, feed_symbol, listed_at FROM instruments") == [("sql", "ABC", expected[0][0])]
    assert load(collected).pages == 0


def test_bar_is_final_by_the_clock_of_the_database(engine: Engine) -> None:
    fill(engine, ended=-10)
    load(engine)
    (newest,) = rows(engine, "SELECT max(time) FROM bars")[0]
    assert now(engine) - timedelta(minutes=3) < newest <= now(engine) - MINUTE - timedelta(seconds=2)


@pytest.mark.parametrize(
    ("type_", "time", "back", "since"),
    [
        ("timestamp", "t AT TIME ZONE 'UTC'", "bucket AT TIME ZONE 'UTC'", ":since"),
        *[
            ("bigint", f"{UNIX_TIME} * {unit}", f"to_timestamp(bucket / {unit})", "extract(epoch FROM :since)")
            for unit in (1, 1_000, 1_000_000)
        ],
        ("double precision", UNIX_TIME, "to_timestamp(bucket)", "extract(epoch FROM :since)"),
        ("numeric", f"{UNIX_TIME} * 1000", "to_timestamp(bucket / 1000)", "0"),
    ],
)  # fmt: skip
def test_times_without_zone_and_unix_times_are_utc(
    engine: Engine, type_: str, time: str, back: str, since: str
) -> None:
    with engine.begin() as connection:
        connection.execute(
            text(f"ALTER ROLE CURRENT_USER IN DATABASE \"{engine.url.database}\" SET TimeZone = 'Asia/Kolkata'")
        )
    engine.dispose()
    fill(engine, type_, time)
    load(engine, SELECT.replace(":since", since))
    assert rows(engine, STORED.format("ABC")) == in_table(engine, back)


def test_unix_times_may_change_their_unit(engine: Engine) -> None:
    fill(engine, "bigint", f"{UNIX_TIME} * (CASE WHEN n > 700 THEN 1000 ELSE 1000000 END)")
    load(engine, "SELECT bucket AS time, * FROM candles WHERE pair = :symbol")
    assert len(rows(engine, STORED.format("ABC"))) == ROWS


@pytest.mark.parametrize(
    "select", [SELECT + " ORDER BY bucket DESC", SELECT + " ORDER BY random();", SELECT + " -- all"]
)
def test_order_does_not_matter_and_of_a_repeated_time_the_last_row_counts(collected: Engine, select: str) -> None:
    load(collected, select)
    assert rows(collected, STORED.format("ABC")) == in_table(collected)
    with collected.begin() as connection:
        connection.execute(text(DOUBLE))
    union = f"SELECT * FROM ({SELECT}) AS all_rows ORDER BY vol"
    load(collected, union, "DOUBLE")
    assert {row[5] for row in rows(collected, STORED.format("DOUBLE"))} == {3.0}


def test_text_of_the_select_is_taken_as_it_is(collected: Engine, tmp_path: Path, monkeypatch: Any) -> None:
    """Casts, colons and percent signs bind nothing; a file may hold it."""
    select = """/* of :since */ -- and more
        SELECT bucket::timestamptz AS time, candles.*, '12:30' AS "a:b", to_char(bucket, 'HH24:MI') AS "100 %"
        FROM candles WHERE pair = :symbol AND bucket >= :since AND bucket < :until AND pair NOT LIKE '%:x%';
    """
    file = tmp_path / "feed.sql"
    file.write_text(select)
    assert load(collected, str(file)).minutes["have"] == ROWS
    with pytest.raises(BadInput, match=r"HYBRID_ML_SQL_FEED /nowhere/feed.sql: cannot read .*No such file"):
        opened(collected, "/nowhere/feed.sql")


def test_columns_beside_prices_are_kept_where_a_page_has_all_of_them(engine: Engine) -> None:
    fill(engine)
    more = 'bucket AS time, 5 AS "Quote Volume", vol AS trades, nullif(vol, 3) AS taker_buy_volume'
    select = SELECT.replace("bucket AS time", more)
    load(engine, select)
    found = rows(engine, "SELECT quote_volume, trades = volume, count(taker_buy_volume) FROM bars GROUP BY 1, 2")
    assert found == [(5.0, True, 0)]


def test_price_without_volume_is_a_bar_where_trades_say_so(collected: Engine) -> None:
    select = 'SELECT bucket AS time, "Open", h, low, close, {} FROM candles WHERE pair = :symbol'
    with pytest.raises(BadInput, match=r"lacks volume \(it has time, Open, h, low, close.*0 AS volume, 1 AS trades"):
        load(collected, select.format("pair"))
    assert load(collected, select.format("0 AS volume, 1 AS trades")).minutes["have"] == ROWS


@pytest.mark.parametrize(
    ("select", "words"),
    [
        ("", "--exchange sql needs a SELECT in HYBRID_ML_SQL_FEED, such as SELECT time"),
        ("DELETE FROM candles WHERE pair = :symbol RETURNING *", "begins with DELETE; a feed only reads"),
        ("-- x\nINSERT INTO candles DEFAULT VALUES RETURNING :symbol", "begins with INSERT; a feed only reads"),
        (f"{SELECT}; DROP TABLE candles", 'refuses the SELECT .*syntax error at or near ";"'),
        (f"WITH gone AS (DELETE FROM candles RETURNING *) {SELECT}", "writes, by a DELETE in its WITH.*only reads"),
        (SELECT.replace("*", "*, spoil() AS more"), "writes .*read-only transaction.*a feed only reads"),
        (SELECT.replace("*", "*, set_config('transaction_read_only', 'off', false)"), "read-write mode"),
        ("SELECT * FROM candles", "names no :symbol"),
        ("SELECT bucket::text, * FROM candles WHERE pair::symbol = ''", "names no :symbol"),
        ("SELECT close, h FROM candles WHERE pair = :symbol", r"lacks time, open, low, volume \(it has close, h\)"),
        (SELECT.replace("bucket AS", "bucket::text AS"), "time in the SELECT .* is neither timestamptz"),
        (SELECT.replace("candles", "candels"), 'refuses the SELECT .*"candels" does not exist'),
        (SELECT.replace("pair =", "piar ="), 'refuses the SELECT .*"piar" does not exist'),
        (SELECT.replace("*", "*, 1 AS close"), 'refuses the SELECT .*"close" is ambiguous'),
        (SELECT.replace("*", "*, 1 / (vol - vol) AS more"), ""),
        ("SELECT bucket + interval '7 s' AS time, * FROM candles WHERE pair = :symbol", ":07.* is off the minute grid"),
        (SELECT.replace("*", "'NaN'::float8 AS open, *"), "column open of .* UTC holds no finite number"),
        (SELECT.replace("*", "'x' AS low, h, close, vol, \"Open\""), "low holds something that is no number"),
        (SELECT.replace("WHERE", ", generate_series(1, 12) WHERE"), "more than 10,000 rows of ABC for 1,000 minutes"),
    ],
)  # fmt: skip
def test_select_that_cannot_be_used_is_refused_and_stores_nothing(collected: Engine, select: str, words: str) -> None:
    with collected.begin() as connection:
        connection.execute(
            text("CREATE FUNCTION spoil() RETURNS int LANGUAGE sql AS 'DELETE FROM candles RETURNING 1'")
        )
    if not words:  # a column that no bar needs is not computed
        load(collected, select)
        return
    with pytest.raises(BadInput, match=words) as refused:
        load(collected, select)
    assert "\n" not in str(refused.value)
    assert rows(collected, "SELECT count(*) FROM bars UNION ALL SELECT count(*) FROM coverage") == [(0,), (0,)]
    assert rows(collected, "SELECT count(*) FROM candles") == [(ROWS,)]


def test_unknown_symbol_is_refused_with_the_setting(collected: Engine) -> None:
    with pytest.raises(ExchangeRefused, match=r"sql has no symbol abc: the SELECT of HYBRID_ML_SQL_FEED"):
        load(collected, symbol="abc")
    assert rows(collected, "SELECT count(*) FROM instruments") == [(0,)]


def test_select_that_takes_long_is_cancelled(collected: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sql_source, "STATEMENT_SECONDS", 0.2)
    with pytest.raises(ExchangeUnavailable, match=r"took more than 0.2 s; give its table an index"):
        load(collected, SELECT.replace("WHERE", ", (SELECT pg_sleep(60)) AS late WHERE"))


def test_symbol_has_one_feed(collected: Engine) -> None:
    load(collected)
    time = datetime.now(UTC)
    with exchange_server(Exchange(lambda: time, {"ABC": Market(time - DAY)})) as served:
        settings = load_settings().model_copy(update={"hybrid_ml_binance_url": served.url})
        with (
            open_feed("binance", settings, collected, lambda: time, no_wait) as feed,
            pytest.raises(BadInput, match=r"ABC: its bars are from sql.*--exchange sql"),
        ):
            plan_history(collected, feed, "ABC", 1, None)


@pytest.fixture
def elsewhere(server: str) -> Iterator[str]:
    """The address of another database, with the collector's table."""
    with database(server) as address:
        engine = other_engine(address, "the test")
        fill(engine)
        yield address
        engine.dispose()


def test_table_may_be_in_another_database(engine: Engine, elsewhere: str) -> None:
    assert load(engine, url=elsewhere).minutes["have"] == ROWS
    with pytest.raises(BadInput, match=r'refuses the SELECT .*"candles" does not exist'):
        load(engine)


@pytest.mark.parametrize(
    ("parts", "words"),
    [
        ({"port": 1}, r"cannot reach the database at .*; check HYBRID_ML_SQL_FEED_URL and that the server is up"),
        ({"database": "nothing"}, r"no such database at .* in HYBRID_ML_SQL_FEED_URL"),
        ({"drivername": "mysql"}, r"HYBRID_ML_SQL_FEED_URL begins with mysql"),
    ],
)
def test_other_database_that_cannot_be_used_is_named_without_its_password(
    engine: Engine, elsewhere: str, parts: dict[str, Any], words: str
) -> None:
    url = make_url(elsewhere).set(**parts, password=PASSWORD).render_as_string(hide_password=False)
    with pytest.raises(HybridMLError, match=words) as refused:
        load(engine, url=url)
    assert PASSWORD not in str(refused.value)
    assert isinstance(refused.value, StoreUnreachable) == ("port" in parts)


def test_collector_that_is_late_leaves_minutes_open(engine: Engine) -> None:
    """Minutes after its newest row are not gaps, and come in once it has filled them."""
    fill(engine)
    with engine.begin() as connection:
        late = connection.execute(
            text("DELETE FROM candles WHERE bucket >= now() - interval '3 hours' RETURNING bucket")
        )
        assert late.rowcount > 170
        between = "now() - interval '8 hours' AND now() - interval '7 hours'"
        connection.execute(text(f"DELETE FROM candles WHERE bucket BETWEEN {between}"))
    loaded = load(engine)
    assert loaded.minutes["source_gap"] == 60, "an hour in the middle, and none at the end"
    one, feed = instrument(engine), opened(engine)
    end = now(engine).replace(second=0, microsecond=0)
    assert refresh_bars(engine, feed, one, end, lambda _: None).written == 0
    assert load_history(engine, feed, plan_repair(engine, feed, one), lambda _: None).minutes["have"] == 0
    fill(engine, count=170)
    assert load_history(engine, feed, plan_repair(engine, feed, one), lambda _: None).minutes["have"] >= 170
    assert {state for *_, state in rows(engine, COVERAGE.format("ABC"))} == {"have", "source_gap"}


def instrument(engine: Engine, symbol: str = "ABC") -> Instrument:
    with engine.connect() as connection:
        return read_instruments(connection, [symbol])[0]


def test_threads_share_one_feed(engine: Engine) -> None:
    names = [f"S{number}" for number in range(20)]
    for name in names:
        fill(engine, pair=name, count=300)
    feed = opened(engine)
    end = feed.describe(names[0])[1] - MINUTE
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda name: plan_history(engine, feed, name, 1, end - 30 * MINUTE), names))
        list(pool.map(lambda name: load(engine, symbol=name, days=1), names[:10]))
    results = refresh_all(
        feed,
        [instrument(engine, name) for name in names],
        end,
        lambda one: refresh_bars(engine, feed, one, end, lambda _: None),
    )
    assert [(result.symbol, result.problem) for result in results] == [(name, "") for name in names]


def test_clock_is_that_of_the_database(collected: Engine) -> None:
    before = now(collected)
    assert before <= opened(collected).read_clock() <= now(collected)
