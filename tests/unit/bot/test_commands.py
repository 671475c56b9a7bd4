"""Parsing of updates: commands for this bot, their senders and arguments."""

import time
from datetime import UTC, datetime
from typing import Any

import pytest

from hybrid_ml.bot.parsing import UnauthorizedChat, parse_command
from hybrid_ml.schemas.bot_status import BotCommand

ALLOWED = ["42", "-100777", "@OurGroup"]
PRIVATE = {"id": 42, "type": "private"}
GROUP = {"id": -100777, "type": "supergroup"}


def update(text: str | None, chat: dict[str, Any] | None = None, **fields: Any) -> dict[str, Any]:
    message = {"message_id": 1, "date": 1_700_000_000, "chat": chat or PRIVATE, "from": {"id": 9}, **fields}
    return {"update_id": 5, "message": message if text is None else {**message, "text": text}}


def parse(content: dict[str, Any]) -> BotCommand | UnauthorizedChat | None:
    return parse_command(content, ALLOWED, "Our_Bot")


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
def test_commands_are_recognized(text: str | None, chat: dict[str, Any], expected: str | None) -> None:
    command = parse(update(text, chat))
    assert (command.command if isinstance(command, BotCommand) else command) == expected


@pytest.mark.parametrize("kind", ["edited_message", "channel_post", "edited_channel_post", "my_chat_member"])
def test_other_updates_are_ignored(kind: str) -> None:
    assert parse({"update_id": 5, kind: update("/pause")["message"]}) is None


def test_command_has_send_time_and_reply_chat() -> None:
    command = parse(update("/help", {"id": -5, "type": "supergroup", "username": "ourgroup"}))
    assert command == BotCommand(
        5, "@OurGroup", -5, "help", datetime.fromtimestamp(1_700_000_000, UTC), 9, in_group=True
    )


@pytest.mark.parametrize(
    ("chat", "sender", "user_id", "in_group", "as_group"),
    [
        (PRIVATE, None, 9, False, False),
        (GROUP, None, 9, True, False),
        (GROUP, -100777, None, True, True),  # an anonymous administrator
        (GROUP, -100888, None, True, False),  # any other channel
    ],
)
def test_command_has_sender_and_anonymous_administrator_flag(
    chat: dict[str, Any], sender: int | None, user_id: int | None, in_group: bool, as_group: bool
) -> None:
    fields = {} if sender is None else {"sender_chat": {"id": sender, "type": "channel"}}
    command = parse(update("/pause", chat, **fields))
    assert isinstance(command, BotCommand)
    assert (command.user_id, command.in_group, command.as_group) == (user_id, in_group, as_group)


@pytest.mark.parametrize(
    "chat",
    [
        {"id": 43, "type": "private"},
        {"id": 43, "type": "private", "username": "OurGroup"},
        {"id": -42, "type": "group"},
        {"id": -5, "type": "supergroup", "username": "OtherGroup"},
    ],
)
def test_unauthorized_chat_has_ids_only(chat: dict[str, Any]) -> None:
    assert parse(update("/pause", chat)) == UnauthorizedChat(chat["id"], 9)
    anonymous = update("/pause", chat)
    del anonymous["message"]["from"]
    assert parse(anonymous) == UnauthorizedChat(chat["id"], None)


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
def test_arguments_are_parsed_or_reported(text: str, minutes: int, count: int, problem: str) -> None:
    command = parse(update(text))
    assert isinstance(command, BotCommand)
    assert (command.minutes, command.count) == (minutes, count)
    assert command.problem.startswith(problem)
    assert bool(command.problem) == bool(problem)


def test_long_text_is_parsed_quickly() -> None:
    started = time.thread_time()
    parse(update("/pause " + " " * 4_000 + "\n" * 90 + "x"))
    assert time.thread_time() - started < 0.5
