"""Which source of a setting wins, and that each says where it is from."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from hybrid_ml.config.overrides import SettingOverride, set_overrides
from hybrid_ml.config.settings import Settings, load_settings
from hybrid_ml.diagnostics.settings_table import format_overrides, list_settings
from hybrid_ml.errors import BadInput, StoreUnavailable
from hybrid_ml.schemas.requests import AnalysisRequest
from hybrid_ml.store.engine import open_engine

SECRET = "s3cr3t-and-more"
BLOCK = f"postgresql://me:{SECRET}@from-block:5433/db"
THRESHOLDS = {
    "min_confidence": "0.71",
    "min_prob_margin": "0.11",
    "max_entropy": "0.5",
    "max_signals": "3",
    "signals_per_day": "2.5",
}


@pytest.fixture(autouse=True)
def apart(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A `.env` of its own, nothing in the environment, nothing on offer."""
    monkeypatch.setitem(Settings.model_config, "env_file", tmp_path / ".env")
    for name in Settings.model_fields:
        monkeypatch.delenv(name.upper(), raising=False)
    yield
    set_overrides({})


def stated(tmp_path: Path, *lines: str) -> None:
    (tmp_path / ".env").write_text("\n".join(lines))


def rows() -> dict[str, tuple[str, str]]:
    return {row.name: (row.shown, row.origin) for row in list_settings(load_settings())}


def test_environment_wins_over_env_file_over_block_over_default(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert rows()["NEON_CONN_STR"] == ("the embedded PostgreSQL", "default")
    set_overrides({"neon_conn_str": SettingOverride(BLOCK, "block hybrid-ml-database")})
    assert rows()["NEON_CONN_STR"] == ("from-block:5433/db", "block hybrid-ml-database")
    stated(tmp_path, f"NEON_CONN_STR=postgresql://me:{SECRET}@from-file/db")
    assert rows()["NEON_CONN_STR"] == ("from-file:5432/db", ".env")
    monkeypatch.setenv("NEON_CONN_STR", f"postgresql://me:{SECRET}@from-environment/db")
    assert rows()["NEON_CONN_STR"] == ("from-environment:5432/db", "environment")


@pytest.mark.parametrize("empty", ["", "  "])
def test_an_empty_variable_hides_the_env_file_and_lets_the_block_through(
    empty: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stated(tmp_path, f"NEON_CONN_STR=postgresql://me:{SECRET}@from-file/db")
    monkeypatch.setenv("NEON_CONN_STR", empty)
    assert load_settings().uses_embedded_database
    set_overrides({"neon_conn_str": SettingOverride(BLOCK, "block hybrid-ml-database")})
    assert load_settings().origin("neon_conn_str") == "block hybrid-ml-database"
    stated(tmp_path, "NEON_CONN_STR=")
    monkeypatch.delenv("NEON_CONN_STR")
    assert load_settings().origin("neon_conn_str") == "block hybrid-ml-database"


def test_an_empty_number_counts_as_unset(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HYBRID_ML_MAX_GAP_MINUTES", "")
    assert rows()["HYBRID_ML_MAX_GAP_MINUTES"] == ("30", "default")


def test_what_is_withdrawn_counts_no_more_and_blocks_can_be_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    set_overrides({"neon_conn_str": SettingOverride(BLOCK, "block hybrid-ml-database")})
    monkeypatch.setenv("HYBRID_ML_BLOCKS", "false")
    assert load_settings().uses_embedded_database
    monkeypatch.delenv("HYBRID_ML_BLOCKS")
    assert not load_settings().uses_embedded_database
    set_overrides({})
    assert load_settings().uses_embedded_database


def test_every_setting_has_a_row_and_no_row_shows_a_secret(monkeypatch: pytest.MonkeyPatch) -> None:
    set_overrides(
        {
            "neon_conn_str": SettingOverride(f"{BLOCK}?sslpassword={SECRET}", "block hybrid-ml-database"),
            "telegram_bot_token": SettingOverride(SECRET, "block telegram-bot-token"),
            "telegram_chat_id": SettingOverride("4242,4343", "block telegram-chat-id"),
            "hybrid_ml_sql_feed_url": SettingOverride(BLOCK, "block hybrid-ml-sql-feed-url"),
            **{
                f"hybrid_ml_{name}": SettingOverride(value, "variable hybrid_ml_thresholds")
                for name, value in THRESHOLDS.items()
            },
        }
    )
    monkeypatch.setenv("HYBRID_ML_MAX_ENTROPY", "0.9")
    found = rows()
    assert list(found) == [name.upper() for name in Settings.model_fields]
    assert found["TELEGRAM_BOT_TOKEN"] == ("********", "block telegram-bot-token")
    assert found["TELEGRAM_CHAT_ID"] == ("2 chats", "block telegram-chat-id")
    assert found["HYBRID_ML_SQL_FEED_URL"] == ("from-block:5433/db", "block hybrid-ml-sql-feed-url")
    assert found["TELEGRAM_CHATS"] == ("not set", "default")
    assert found["HYBRID_ML_MIN_CONFIDENCE"] == ("0.71", "variable hybrid_ml_thresholds")
    assert found["HYBRID_ML_MAX_ENTROPY"] == ("0.9", "environment")
    assert "HYBRID_ML_MAX_ENTROPY 0.9 (environment)" in format_overrides(load_settings())
    assert SECRET not in str(found) + repr(load_settings()) + format_overrides(load_settings())
    assert "4242" not in str(found)


def test_addresses_of_exchanges_are_read_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HYBRID_ML_EXCHANGE_URLS", " kraken=https://host/ , okx = http://127.0.0.1:8080")
    assert load_settings().exchange_urls == {"kraken": "https://host", "okx": "http://127.0.0.1:8080"}
    monkeypatch.setenv("HYBRID_ML_EXCHANGE_URLS", "kraken=https://host,okx")
    with pytest.raises(BadInput, match=r"HYBRID_ML_EXCHANGE_URLS .*'okx' is no name with an address; write it like"):
        load_settings()


def test_an_address_that_cannot_be_read_is_masked_as_a_whole() -> None:
    set_overrides({"neon_conn_str": SettingOverride(SECRET, "block hybrid-ml-database")})
    assert rows()["NEON_CONN_STR"] == ("********", "block hybrid-ml-database")


def test_an_error_names_the_block_and_not_what_it_holds() -> None:
    set_overrides({"telegram_chat_id": SettingOverride(f"42, {SECRET}", "block telegram-chat-id")})
    with pytest.raises(
        BadInput, match=r"^block telegram-chat-id: what it holds is no chat: give its number"
    ) as refused:
        load_settings()
    assert SECRET not in str(refused.value)
    set_overrides(
        {"neon_conn_str": SettingOverride(f"postgresql://me:{SECRET}@127.0.0.1:1/db", "block hybrid-ml-database")}
    )
    with pytest.raises(StoreUnavailable, match=r"127\.0\.0\.1:1/db.*check block hybrid-ml-database and") as away:
        open_engine(load_settings())
    assert SECRET not in str(away.value)


@pytest.mark.parametrize(
    ("name", "value", "text"),
    [
        ("HYBRID_ML_MIN_CONFIDENCE", "1.5", "HYBRID_ML_MIN_CONFIDENCE 1.5: Input should be less than or equal to 1"),
        ("HYBRID_ML_MIN_PROB_MARGIN", "nan", "HYBRID_ML_MIN_PROB_MARGIN nan: Input should be less than or equal to 1"),
        ("HYBRID_ML_MAX_ENTROPY", "much", "HYBRID_ML_MAX_ENTROPY much: Input should be a valid number"),
        ("HYBRID_ML_MAX_SIGNALS", "-1", "HYBRID_ML_MAX_SIGNALS -1: Input should be greater than or equal to 0"),
        ("HYBRID_ML_BLOCKS", "perhaps", "HYBRID_ML_BLOCKS perhaps: Input should be a valid boolean"),
    ],
)
def test_a_bad_threshold_in_the_environment_is_named_with_its_value(
    name: str, value: str, text: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(name, value)
    with pytest.raises(BadInput) as refused:
        load_settings()
    assert str(refused.value).startswith(text)


def test_bounds_of_a_run_and_of_a_setting_are_the_same() -> None:
    for name in THRESHOLDS:
        requested = AnalysisRequest.model_json_schema()["properties"][name]
        number, _ = Settings.model_json_schema()["properties"][f"hybrid_ml_{name}"]["anyOf"]
        assert {word: requested[word] for word in number} == number
