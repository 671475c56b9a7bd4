"""Who gets alerts: chats and their wishes, as the environment states them."""

import json

import pytest

from hybrid_ml.config.settings import load_settings
from hybrid_ml.errors import BadInput


def chats(monkeypatch: pytest.MonkeyPatch, plain: str, wishes: object = "") -> list[tuple[str, float, list[str]]]:
    monkeypatch.setenv("TELEGRAM_CHAT_ID", plain)
    monkeypatch.setenv("TELEGRAM_CHATS", wishes if isinstance(wishes, str) else json.dumps(wishes))
    return [(chat.chat_id, chat.min_confidence, chat.symbols) for chat in load_settings().chats]


def test_chats_are_named_once_however_they_are_written(monkeypatch: pytest.MonkeyPatch) -> None:
    found = chats(monkeypatch, " 42, 042,-100123,@Chan,@chan")
    assert found == [("42", 0.0, []), ("-100123", 0.0, []), ("@chan", 0.0, [])]


def test_a_chat_may_have_several_wishes_and_they_replace_its_plain_mention(monkeypatch: pytest.MonkeyPatch) -> None:
    wishes = [{"chat_id": 42, "symbols": [" BTC "], "min_confidence": 0.7}, {"chat_id": "42", "symbols": ["ETH"]}]
    assert chats(monkeypatch, "42,43", wishes) == [("43", 0.0, []), ("42", 0.7, ["BTC"]), ("42", 0.0, ["ETH"])]
    settings = load_settings()
    assert settings.chat_ids == ["43", "42"]
    wanting = {chat.chat_id for chat in settings.chats if chat.wants("ETH", 0.5)}
    assert wanting == {"42", "43"}
    assert {chat.chat_id for chat in settings.chats if chat.wants("BTC", 0.6)} == {"43"}


@pytest.mark.parametrize(
    ("plain", "wishes", "text"),
    [
        ("hello", "", "TELEGRAM_CHAT_ID: 'hello' is no chat: give its number"),
        ("1", "{bad", "TELEGRAM_CHATS: not JSON; write it like"),
        ("1", [{"chat_id": 1, "symbol": ["X"]}], "TELEGRAM_CHATS, entry 1, symbol: Extra inputs are not permitted"),
        ("1", [{"chat_id": 1, "min_confidence": 70}], "TELEGRAM_CHATS, entry 1, min_confidence: "),
        ("1", [{"chat_id": "x y"}], "TELEGRAM_CHATS, entry 1, chat_id: 'x y' is no chat"),
    ],
)
def test_what_is_wrong_with_chats_is_named(
    monkeypatch: pytest.MonkeyPatch, plain: str, wishes: object, text: str
) -> None:
    with pytest.raises(BadInput) as refused:
        chats(monkeypatch, plain, wishes)
    assert str(refused.value).startswith(text)


@pytest.mark.parametrize("variable", ["TELEGRAM_CHAT_ID", "TELEGRAM_CHATS"])
def test_a_token_in_the_wrong_place_is_not_repeated(monkeypatch: pytest.MonkeyPatch, variable: str) -> None:
    monkeypatch.setenv(variable, "123456:AAH-not-a-real-one")
    with pytest.raises(BadInput) as refused:
        load_settings()
    assert "AAH" not in str(refused.value)


def test_an_address_without_http_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TELEGRAM_BASE_URL", "127.0.0.1:8081/bot")
    with pytest.raises(BadInput, match="TELEGRAM_BASE_URL: no address; write it like http"):
        load_settings()


def test_which_variable_is_missing_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    assert load_settings().missing_telegram_settings == "TELEGRAM_BOT_TOKEN and TELEGRAM_CHAT_ID not set"
    monkeypatch.setenv("TELEGRAM_BOT_TOKEN", "1:x")
    assert load_settings().missing_telegram_settings == "TELEGRAM_CHAT_ID not set"
    monkeypatch.setenv("TELEGRAM_CHATS", '[{"chat_id": 1}]')
    assert load_settings().missing_telegram_settings == ""
    assert load_settings().telegram_configured
