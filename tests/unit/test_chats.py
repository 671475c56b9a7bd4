"""Configured chats and their preferences for alerts."""

import json

import pytest

from hybrid_ml.config.settings import load_settings
from hybrid_ml.errors import BadInput


def chats(monkeypatch: pytest.MonkeyPatch, plain: str, preferences: object = "") -> list[tuple[str, float, list[str]]]:
    monkeypatch.setenv("TELEGRAM_CHAT_ID", plain)
    monkeypatch.setenv("TELEGRAM_CHATS", preferences if isinstance(preferences, str) else json.dumps(preferences))
    return [(chat.chat_id, chat.min_confidence, chat.symbols) for chat in load_settings().chats]


def test_repeated_chats_are_listed_once(monkeypatch: pytest.MonkeyPatch) -> None:
    configured = chats(monkeypatch, " 42, 042,-100123,@Chan,@chan")
    assert configured == [("42", 0.0, []), ("-100123", 0.0, []), ("@chan", 0.0, [])]


def test_preferences_replace_the_plain_entry_of_a_chat(monkeypatch: pytest.MonkeyPatch) -> None:
    preferences = [{"chat_id": 42, "symbols": [" BTC "], "min_confidence": 0.7}, {"chat_id": "42", "symbols": ["ETH"]}]
    assert chats(monkeypatch, "42,43", preferences) == [("43", 0.0, []), ("42", 0.7, ["BTC"]), ("42", 0.0, ["ETH"])]
    settings = load_settings()
    assert settings.chat_ids == ["43", "42"]
    subscribed = {chat.chat_id for chat in settings.chats if chat.wants("ETH", 0.5)}
    assert subscribed == {"42", "43"}
    assert {chat.chat_id for chat in settings.chats if chat.wants("BTC", 0.6)} == {"43"}


@pytest.mark.parametrize(
    ("plain", "preferences", "text"),
    [
        ("hello", "", "TELEGRAM_CHAT_ID: 'hello' is no chat: give its number"),
        ("1", "{bad", "TELEGRAM_CHATS: not JSON; write it like"),
        ("1", [{"chat_id": 1, "symbol": ["X"]}], "TELEGRAM_CHATS, entry 1, symbol: Extra inputs are not permitted"),
        ("1", [{"chat_id": 1, "min_confidence": 70}], "TELEGRAM_CHATS, entry 1, min_confidence: "),
        ("1", [{"chat_id": "x y"}], "TELEGRAM_CHATS, entry 1, chat_id: 'x y' is no chat"),
    ],
)
def test_invalid_chats_are_named(monkeypatch: pytest.MonkeyPatch, plain: str, preferences: object, text: str) -> None:
    with pytest.raises(BadInput) as refused:
        chats(monkeypatch, plain, preferences)
    assert str(refused.value).startswith(text)


@pytest.mark.parametrize("variable", ["TELEGRAM_CHAT_ID", "TELEGRAM_CHATS"])
def test_token_in_a_chat_variable_is_not_shown(monkeypatch: pytest.MonkeyPatch, variable: str) -> None:
    monkeypatch.setenv(variable, "123456:AAH-not-a-real-one")
    with pytest.raises(BadInput) as refused:
        load_settings()
    assert "AAH" not in str(refused.value)


def test_base_url_without_http_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TELEGRAM_BASE_URL", "127.0.0.1:8081/bot")
    with pytest.raises(BadInput, match="TELEGRAM_BASE_URL: no address; write it like http"):
        load_settings()


def test_missing_telegram_variables_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    assert load_settings().missing_telegram_settings == "TELEGRAM_BOT_TOKEN and TELEGRAM_CHAT_ID not set"
    monkeypatch.setenv("TELEGRAM_BOT_TOKEN", "1:x")
    assert load_settings().missing_telegram_settings == "TELEGRAM_CHAT_ID not set"
    monkeypatch.setenv("TELEGRAM_CHATS", '[{"chat_id": 1}]')
    assert load_settings().missing_telegram_settings == ""
    assert load_settings().telegram_configured
