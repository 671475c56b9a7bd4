"""Which updates are commands for this bot, from whom, and what they ask."""

import time
from datetime import UTC, datetime
from typing import Any

import pytest

from hybrid_ml.bot.parsing import UnauthorizedChat, parse_command
from hybrid_ml.schemas.bot_status import BotCommand

ALLOWED = ["42", "-100777", "@OurGroup"]
PRIVATE = {"id": 42, "type": "private"}
GROUP = {"id": -100777, "type": "supergroup"}


def update(text: str | None, chat: dict[str, Any] | None = None, **more: Any) -> dict[str, Any]:
    message = {"message_id": 1, "date": 1_700_000_000, "chat": chat or PRIVATE, "from": {"id": 9}, **more}
    return {"update_id": 5, "message": message if text is None else {**message, "text": text}}


def ask(given: dict[str, Any]) -> BotCommand | UnauthorizedChat | None:
    return parse_command(given, ALLOWED, "Our_Bot")


@pytest.mark.parametrize(
    ("text", "chat", "expected"),
    [
        ("/status", PRIVATE, "status"),
        ("  /STATUS \n", PRIVATE, "status"),
        ("/status@our_bot", GROUP, "status"),
        ("/status", GROUP, "status"),
        ("/status@other_bot", GROUP, None),
        ("/weather", PRIVATE, "weather"),
        ("/weather", GROUP, None),
        ("/weather@Our_Bot", GROUP, "weather"),
        ("status", PRIVATE, None),
        ("hello /status", PRIVATE, None),
        ("/", PRIVATE, None),
        ("/" + "x" * 33, PRIVATE, None),
        ("/stätus", PRIVATE, None),
        ("", PRIVATE, None),
        (None, PRIVATE, None),
    ],
)
def test_what_is_a_command(text: str | None, chat: dict[str, Any], expected: str | None) -> None:
    found = ask(update(text, chat))
    assert (found.command if isinstance(found, BotCommand) else found) == expected


@pytest.mark.parametrize("kind", ["edited_message", "channel_post", "edited_channel_post", "my_chat_member"])
def test_other_updates_are_nothing(kind: str) -> None:
    assert ask({"update_id": 5, kind: update("/pause")["message"]}) is None


def test_a_request_knows_when_it_was_sent_and_where_it_is_answered() -> None:
    found = ask(update("/help", {"id": -5, "type": "supergroup", "username": "ourgroup"}))
    assert found == BotCommand(5, "@OurGroup", -5, "help", datetime.fromtimestamp(1_700_000_000, UTC), 9, in_group=True)


@pytest.mark.parametrize(
    ("chat", "sender", "user_id", "in_group", "as_group"),
    [
        (PRIVATE, None, 9, False, False),
        (GROUP, None, 9, True, False),
        (GROUP, -100777, None, True, True),  # an anonymous administrator
        (GROUP, -100888, None, True, False),  # a channel of anybody's
    ],
)
def test_a_request_knows_who_wrote_it_and_in_whose_name(
    chat: dict[str, Any], sender: int | None, user_id: int | None, in_group: bool, as_group: bool
) -> None:
    more = {} if sender is None else {"sender_chat": {"id": sender, "type": "channel"}}
    found = ask(update("/pause", chat, **more))
    assert isinstance(found, BotCommand)
    assert (found.user_id, found.in_group, found.as_group) == (user_id, in_group, as_group)


@pytest.mark.parametrize(
    "chat",
    [
        {"id": 43, "type": "private"},
        {"id": 43, "type": "private", "username": "OurGroup"},
        {"id": -42, "type": "group"},
        {"id": -5, "type": "supergroup", "username": "OtherGroup"},
    ],
)
def test_strangers_are_known_by_number_alone(chat: dict[str, Any]) -> None:
    assert ask(update("/pause", chat)) == UnauthorizedChat(chat["id"], 9)
    anonymous = update("/pause", chat)
    del anonymous["message"]["from"]
    assert ask(anonymous) == UnauthorizedChat(chat["id"], None)


@pytest.mark.parametrize(
    ("text", "minutes", "count", "problem"),
    [
        ("/pause", 1_440, 5, ""),
        ("/pause 90", 90, 5, ""),
        ("/pause 10080", 10_080, 5, ""),
        ("/pause 10081", 1_440, 5, "“10081” is no number of minutes from 1 to 10,080"),
        ("/pause 0", 1_440, 5, "“0” is no number of minutes"),
        ("/pause -5", 1_440, 5, "“-5” is no number of minutes"),
        ("/pause 1e3", 1_440, 5, "“1e3” is no number of minutes"),
        ("/pause ９", 1_440, 5, "“９” is no number of minutes"),
        ("/pause " + "9" * 5_000, 1_440, 5, f"“{'9' * 40}” is no"),
        ("/signals", 1_440, 5, ""),
        ("/signals 20", 1_440, 20, ""),
        ("/signals 21", 1_440, 5, "“21” is no number of signals from 1 to 20"),
        ("/signals <b>", 1_440, 5, "“<b>” is no number of signals"),
        ("/status whatever", 1_440, 5, ""),
    ],
)
def test_arguments(text: str, minutes: int, count: int, problem: str) -> None:
    found = ask(update(text))
    assert isinstance(found, BotCommand)
    assert (found.minutes, found.count) == (minutes, count)
    assert found.problem.startswith(problem)
    assert bool(found.problem) == bool(problem)


def test_a_long_text_is_read_at_once() -> None:
    started = time.thread_time()
    ask(update("/pause " + " " * 4_000 + "\n" * 90 + "x"))
    assert time.thread_time() - started < 0.5
