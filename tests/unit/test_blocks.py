"""What blocks and the Variable of the Prefect UI offer, and what is said of those that cannot be used."""

import pickle
from typing import Any

import pytest

from hybrid_ml.config.prefect_blocks import DATABASE_BLOCK, THRESHOLDS_VARIABLE, Block, offers_of
from hybrid_ml.errors import BadInput
from hybrid_ml.store.engine import parse_address

SECRET = "p@ss/w:rd"
PARTS = {
    "driver": "postgresql+psycopg2",
    "username": "me",
    "password": SECRET,
    "host": "db.example",
    "database": "bars",
}


def database(info: Any, **more: Any) -> Block:
    return Block(DATABASE_BLOCK, "sqlalchemy-connector", {"connection_info": info, "fetch_size": 1, **more})


def offered(*blocks: Block, thresholds: Any = None) -> dict[str, tuple[str, str]]:
    found = offers_of(blocks, {} if thresholds is None else thresholds)
    return {name: (offer.value, offer.origin) for name, offer in found.items()}


def refusal(*blocks: Block, thresholds: Any = None) -> str:
    with pytest.raises(BadInput) as refused:
        offered(*blocks, thresholds=thresholds)
    text = str(refused.value)
    assert SECRET not in text
    assert "\n" not in text
    return text


@pytest.mark.parametrize("driver", ["psycopg2", "psycopg", "pg8000", "psycopg2cffi", "pypostgresql", "pygresql"])
def test_components_become_an_address_whatever_the_sync_driver(driver: str) -> None:
    parts = {**PARTS, "driver": f"postgresql+{driver}", "port": 5433, "query": {"sslmode": "require"}}
    address, origin = offered(database(parts))["neon_conn_str"]
    url = parse_address(address)
    assert (url.username, url.password, url.host, url.port, url.database) == ("me", SECRET, "db.example", 5433, "bars")
    assert dict(url.query) == {"sslmode": "require"}
    assert origin == "block hybrid-ml-database"


@pytest.mark.parametrize("scheme", ["postgres", "postgresql", "postgresql+psycopg2"])
def test_an_address_is_taken_as_it_is(scheme: str) -> None:
    address, _ = offered(database(f" {scheme}://me:{'p%40ss%2Fw:rd'}@h:5433/db?sslmode=require "))["neon_conn_str"]
    url = parse_address(address)
    assert (url.password, url.host, url.port, url.database, url.query["sslmode"]) == (
        SECRET,
        "h",
        5433,
        "db",
        "require",
    )


def test_connection_arguments_become_part_of_the_address() -> None:
    block = database(PARTS, connect_args={"sslmode": "verify-full", "keepalives_idle": 30})
    url = parse_address(offered(block)["neon_conn_str"][0])
    assert dict(url.query) == {"sslmode": "verify-full", "keepalives_idle": "30"}


def test_the_folder_of_a_socket_is_a_host_too() -> None:
    url = parse_address(offered(database({**PARTS, "host": "/run/postgresql"}))["neon_conn_str"][0])
    assert (url.host, url.query["host"], url.database, url.password) == (None, "/run/postgresql", "bars", SECRET)


@pytest.mark.parametrize(
    ("block", "text"),
    [
        (
            database({**PARTS, "driver": "postgresql+asyncpg"}),
            "postgresql+asyncpg, which cannot be used here: choose dr",
        ),
        (database(f"postgresql+psycopg_async://me:{SECRET}@h/db"), "postgresql+psycopg_async, which cannot be used"),
        (
            database({**PARTS, "driver": "mysql+pymysql"}),
            "is for mysql; hybrid-ml needs PostgreSQL: choose driver postgr",
        ),
        (database({**PARTS, "host": None}), "names no host or no database; fill both in"),
        (database("postgresql://me@h"), "names no host or no database; fill both in"),
        (database(f"{SECRET} is no address"), "holds no connection; give driver, host, database, user name and passw"),
        (database(None), "holds no connection"),
        (database({}), "holds no connection"),
        (database({**PARTS, "port": SECRET}), "holds no connection"),
        (database(PARTS, connect_args={"options": [SECRET]}), "argument options is neither text nor a number; take it"),
        (
            Block(DATABASE_BLOCK, "secret", {"value": SECRET}),
            "is of type secret; make one of type SQLAlchemy Connector",
        ),
    ],
)
def test_a_database_block_that_cannot_be_used_is_named_with_the_remedy(block: Block, text: str) -> None:
    assert refusal(block).startswith("block hybrid-ml-database ") or refusal(block).startswith(
        "block hybrid-ml-database:"
    )
    assert text in refusal(block)


def test_secrets_are_text_or_numbers_and_empty_ones_count_as_unset() -> None:
    token = Block("telegram-bot-token", "secret", {"value": " 123456:AAE "})
    chat = Block("telegram-chat-id", "secret", {"value": -1001234})
    assert offered(token, chat) == {
        "telegram_bot_token": ("123456:AAE", "block telegram-bot-token"),
        "telegram_chat_id": ("-1001234", "block telegram-chat-id"),
    }
    address = "postgresql://me:p@h/db"
    assert offered(Block("hybrid-ml-sql-feed-url", "secret", {"value": address})) == {
        "hybrid_ml_sql_feed_url": (address, "block hybrid-ml-sql-feed-url")
    }
    for nothing in ("", "  ", None):
        assert offered(Block("telegram-bot-token", "secret", {"value": nothing})) == {}
    assert offered() == {}


@pytest.mark.parametrize("value", [{"token": SECRET}, [SECRET], True])
def test_a_secret_that_is_no_text_is_refused(value: Any) -> None:
    text = refusal(Block("telegram-bot-token", "secret", {"value": value}))
    assert text == f"block telegram-bot-token holds a {type(value).__name__}; write its value as plain text"


def test_of_two_blocks_by_one_name_the_one_of_the_right_type_counts() -> None:
    wrong = Block("telegram-bot-token", "json", {"value": SECRET})
    assert refusal(wrong) == "block telegram-bot-token is of type json; make one of type Secret by that name"
    assert offered(wrong, Block("telegram-bot-token", "secret", {"value": "1:x"}))["telegram_bot_token"][0] == "1:x"


@pytest.mark.parametrize(
    "value",
    [{"min_confidence": 0.7, "max_signals": 3, "max_entropy": None}, '{"min_confidence": 0.7, "max_signals": 3}'],
)
def test_thresholds_are_offered_as_an_object_or_as_its_text(value: Any) -> None:
    assert offered(thresholds=value) == {
        "hybrid_ml_min_confidence": ("0.7", "variable hybrid_ml_thresholds"),
        "hybrid_ml_max_signals": ("3", "variable hybrid_ml_thresholds"),
    }


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ([1], " is [1], which is no object"),
        (0.7, " is 0.7, which is no object"),
        ("sure", ' is "sure", which is no object'),
        ("null", ' is "null", which is no object'),
        (
            {"min_confidense": 0.7},
            ' holds "min_confidense", which is no threshold; there are min_confidence, min_prob_',
        ),
        ({"min_confidence": 1.5}, ": min_confidence is 1.5: input should be less than or equal to 1"),
        ({"min_prob_margin": -0.1}, ": min_prob_margin is -0.1: input should be greater than or equal to 0"),
        ({"max_entropy": 1.2}, ": max_entropy is 1.2: input should be less than or equal to 1.1"),
        ({"max_signals": -1}, ": max_signals is -1: input should be greater than or equal to 0"),
        ({"max_signals": 2.5}, ": max_signals is 2.5: input should be a valid integer"),
        ({"min_confidence": "0.7"}, ': min_confidence is "0.7": input should be a valid number'),
        ({"min_confidence": True}, ": min_confidence is true: input should be a valid number"),
        ({"min_confidence": float("nan")}, ": min_confidence is NaN: input should be less than or equal to 1"),
        ('{"max_entropy": NaN}', ": max_entropy is NaN: input should be less than or equal to 1.1"),
        ({"min_confidence": ["x" * 500]}, "…: input should be a valid number"),
    ],
)
def test_a_bad_variable_is_named_with_key_value_and_remedy(value: Any, message: str) -> None:
    text = refusal(thresholds=value)
    assert text.startswith(f"variable {THRESHOLDS_VARIABLE}")
    assert message in text
    assert "mend it in the Prefect UI under Variables" in text
    assert len(text) < 320


def test_neither_blocks_nor_offers_show_what_they_hold() -> None:
    block = database(PARTS)
    assert SECRET not in repr(block)
    assert SECRET not in repr(offers_of([block], {}))
    assert SECRET not in repr(pickle.loads(pickle.dumps(block)))
