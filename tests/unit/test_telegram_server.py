"""The loopback Bot API, used through python-telegram-bot: the errors of each fault."""

import asyncio
import json
import struct
import subprocess
import sys
import time
import zlib
from collections.abc import Awaitable, Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest
from telegram import Bot, ReplyParameters
from telegram.error import (
    BadRequest,
    ChatMigrated,
    Conflict,
    Forbidden,
    InvalidToken,
    NetworkError,
    RetryAfter,
    TelegramError,
    TimedOut,
)
from telegram.request import HTTPXRequest

from tests.conftest import ROOT
from tests.telegram_api import CUT_SHORT, FAULTS, LATE, LOST, REFUSED, TOKEN, BotApi, Fault, FaultPlan
from tests.telegram_rules import Limits, visible
from tests.telegram_server import bot_api

Use = Callable[[Bot], Awaitable[Any]]


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


PNG = b"\x89PNG\r\n\x1a\n" + b"".join(
    [
        _chunk(b"IHDR", struct.pack(">IIBBBBB", 1, 1, 8, 0, 0, 0, 0)),
        _chunk(b"tEXt", b"line ends\0" + bytes(range(256)) + b"\r\n\n\r--\r\n"),
        _chunk(b"IDAT", zlib.compress(b"\0\0")),
        _chunk(b"IEND", b""),
    ]
)


def call(api: BotApi, use: Use, token: str = TOKEN, read_seconds: float = 10.0) -> Any:
    """Call `use` with a bot that is connected to `api`; returns its result."""

    async def run() -> Any:
        requests = [HTTPXRequest(connection_pool_size=64, read_timeout=read_seconds, pool_timeout=10) for _ in range(2)]
        bot = Bot(token, base_url=api.base_url, request=requests[0], get_updates_request=requests[1])
        async with requests[0], requests[1]:
            return await use(bot)

    return asyncio.run(run())


def send(text: str, chat_id: int | str = 42, **options: Any) -> Use:
    return lambda bot: bot.send_message(chat_id, text, **options)


@pytest.mark.parametrize(
    ("kind", "error", "cause"),
    [
        ("too_many", RetryAfter, None),
        ("error_500", NetworkError, None),
        ("bad_gateway", NetworkError, TelegramError),
        ("hang_before", TimedOut, httpx.ReadTimeout),
        ("hang_after", TimedOut, httpx.ReadTimeout),
        ("drop_before", NetworkError, httpx.RemoteProtocolError),
        ("drop_after", NetworkError, httpx.RemoteProtocolError),
        ("drop_half_way", NetworkError, httpx.RemoteProtocolError),
        ("garbage", TelegramError, json.JSONDecodeError),
        ("slow", None, None),
    ],
)
def test_fault_raises_the_expected_client_error(
    kind: str, error: type[Exception] | None, cause: type[Exception] | None
) -> None:
    patience_seconds = 0.5 if kind.startswith("hang") else 10.0
    with bot_api() as api:
        api.orders.append(Fault(kind, retry_after_seconds=7))
        if error is None:
            call(api, send("one"))
        else:
            with pytest.raises(error) as raised:
                call(api, send("one"), read_seconds=patience_seconds)
            assert type(raised.value) is error
            assert isinstance(raised.value.__cause__, cause) if cause else raised.value.__cause__ is None
        call(api, send("two", 43))
    first, second = sorted(api.rows, key=lambda row: row.number)
    assert (first.fault, first.text, first.chat_id) == (kind, "one", "42")
    assert (first.message_id is None) == (kind in LOST | REFUSED)
    assert first.acknowledged == (kind == "slow")
    facts = {
        "error_500": 500,
        "too_many": 429,
        "bad_gateway": 502,
        "drop_half_way": "half",
        "garbage": 200,
        "slow": 200,
    }
    assert first.answered_with == facts.get(kind, "nothing")
    assert (second.text, second.acknowledged, second.answered_with) == ("two", True, 200)


def test_every_fault_is_in_a_category() -> None:
    assert set(FAULTS) == LOST | CUT_SHORT | LATE | REFUSED | {"slow"}
    with pytest.raises(ValueError, match="no fault 'flood'"):
        Fault("flood")


def test_request_before_retry_after_is_a_violation() -> None:
    with bot_api() as api:
        api.orders.append(Fault("too_many", retry_after_seconds=30))
        with pytest.raises(RetryAfter) as raised:
            call(api, send("one"))
        assert raised.value._retry_after == timedelta(seconds=30)
        call(api, send("another chat", 43))
        assert api.violations == 0
        call(api, send("too early"))
        assert api.violations == 1


@pytest.mark.parametrize(
    ("text", "chat_id", "options", "error", "message"),
    [
        ("x", 7, {}, BadRequest, "Chat not found"),
        ("x", "name", {}, BadRequest, "Chat not found"),
        ("x", 13, {}, Forbidden, "bot was blocked by the user"),
        ("x", -5, {}, ChatMigrated, "-1005"),
        (" ", 42, {}, BadRequest, "Message text is empty"),
        ("😀" * 2049, 42, {}, BadRequest, "Message is too long"),
        ("<b>x", 42, {"parse_mode": "HTML"}, BadRequest, "Can't find end tag"),
        (
            "<b><i>x</b></i>",
            42,
            {"parse_mode": "HTML"},
            BadRequest,
            'Unmatched end tag at byte offset 7, expected "</i>"',
        ),
        ("x</b>", 42, {"parse_mode": "HTML"}, BadRequest, "Unexpected end tag at byte offset 1"),
        ("é<BTC>", 42, {"parse_mode": "HTML"}, BadRequest, 'Unsupported start tag "btc" at byte offset 2'),
        ("1 < 2", 42, {"parse_mode": "HTML"}, BadRequest, 'Unsupported start tag ""'),
        ("x", 42, {"reply_parameters": ReplyParameters(999)}, BadRequest, "message to be replied not found"),
    ],
)
def test_invalid_messages_are_refused(
    text: str, chat_id: int | str, options: dict[str, Any], error: type[Exception], message: str
) -> None:
    with bot_api() as api:
        api.known_chats, api.blocked_chats, api.migrated_chats = {"42", "13", "-5"}, {"13"}, {"-5": -1005}
        with pytest.raises(error) as raised:
            call(api, send(text, chat_id, **options))
    assert message.lower() in str(raised.value).lower()
    assert not api.messages
    assert api.rows[0].answered_with in (400, 403)


def test_valid_messages_are_accepted() -> None:
    with bot_api() as api:
        first = call(api, send("<b>A&amp;B</b> &lt;up&gt; " + "x" * 4085, parse_mode="HTML"))
        reply = ReplyParameters(first.message_id)
        assert call(api, send("right", reply_parameters=reply)).message_id == first.message_id + 1
        call(api, send("gone", reply_parameters=ReplyParameters(999, allow_sending_without_reply=True)))
        call(api, send("channel", "@signals"))
    assert [message["chat_id"] for message in api.messages] == ["42", "42", "42", "@signals"]
    assert visible('<a href="x">A&amp;B</a> &nbsp;', "HTML") == "A&B &nbsp;"


def test_picture_is_received_completely_with_its_caption() -> None:
    with bot_api() as api:
        caption = "<b>▲ É&amp;B</b>"
        call(api, lambda bot: bot.send_photo(42, PNG, caption=caption, parse_mode="HTML"))
        with pytest.raises(BadRequest, match="caption is too long"):
            call(api, lambda bot: bot.send_photo(42, PNG, caption="x" * 1025))
        with pytest.raises(BadRequest, match="Image_process_failed"):
            call(api, lambda bot: bot.send_photo(42, b"no picture"))
    (message,) = api.messages
    assert (message["caption"], message["parse_mode"]) == (caption, "HTML")
    assert int(message["picture_bytes"]) == len(PNG)


def test_wrong_tokens_are_refused() -> None:
    with bot_api() as api:
        for token in ("1:other", "no colon"):
            with pytest.raises(InvalidToken):
                call(api, send("x"), token=token)
        assert call(api, lambda bot: bot.get_me()).username == "loopback_bot"
    assert [row.answered_with for row in api.rows] == [401, 404, 200]


def test_updates_are_repeated_until_confirmed() -> None:
    with bot_api() as api:
        ids = [api.say(f"/status {number}") for number in range(3)]

        def poll(offset: int | None) -> list[int]:
            return [item.update_id for item in call(api, lambda bot: bot.get_updates(offset=offset, timeout=0))]

        assert poll(None) == poll(0) == ids
        assert poll(ids[1]) == ids[1:]
        assert poll(None) == ids[1:]
        assert poll(-1) == ids[-1:]
        assert poll(ids[-1] + 1) == []
        started = time.monotonic()
        assert call(api, lambda bot: bot.get_updates(timeout=1)) == ()
        assert 0.9 < time.monotonic() - started < 10


def test_poll_ends_at_an_update_and_a_second_poll_ends_the_first() -> None:
    async def use(bot: Bot) -> tuple[Any, Any, float]:
        first = asyncio.create_task(bot.get_updates(timeout=20))
        while not api.polls:
            await asyncio.sleep(0.01)
        second = asyncio.create_task(bot.get_updates(timeout=20))
        (conflict,) = await asyncio.gather(first, return_exceptions=True)
        started = time.monotonic()
        api.say("/help")
        return conflict, await second, time.monotonic() - started

    with bot_api() as api:
        conflict, (update,), seconds = call(api, use)
        assert isinstance(conflict, Conflict)
        assert "terminated by other getUpdates request" in str(conflict)
        assert update.message.text == "/help"
        assert seconds < 10
        api.webhook = "https://example.org/hook"
        with pytest.raises(Conflict, match="webhook is active"):
            call(api, lambda bot: bot.get_updates(timeout=5))
        call(api, lambda bot: bot.delete_webhook())
        assert call(api, lambda bot: bot.get_webhook_info()).url == ""
        assert len(call(api, lambda bot: bot.get_updates(timeout=5))) == 1


def test_rate_limits_equal_those_of_telegram() -> None:
    limits = Limits()
    assert [limits.wait_seconds("1", 100.0) for _ in range(4)] == [0, 0, 0, 1]
    assert limits.wait_seconds("1", 101.0) == 0
    assert limits.wait_seconds("1", 101.0) == 1
    assert [limits.wait_seconds("-9", 200.0 + number) for number in range(21)] == [0] * 20 + [40]
    assert limits.wait_seconds("-9", 260.1) == 0
    assert [limits.wait_seconds(str(number), 500.0) for number in range(31)] == [0] * 30 + [1]


def test_thirty_parallel_connections_lose_no_message(tmp_path: Path) -> None:
    log = tmp_path / "requests.jsonl"

    async def use(bot: Bot) -> None:
        async def chat(chat_id: int) -> None:
            for number in range(5):
                await bot.send_message(chat_id, f"{chat_id}-{number}")

        await asyncio.gather(*(chat(chat_id) for chat_id in range(1, 31)))

    with bot_api(log=log) as api:
        call(api, use, read_seconds=300)
    rows = [json.loads(line) for line in log.read_text().splitlines()]
    assert len(rows) == len(api.rows) == 150
    assert all(row["acknowledged"] for row in rows)
    assert {row["text"] for row in rows} == {f"{chat}-{number}" for chat in range(1, 31) for number in range(5)}
    assert len({row["message_id"] for row in rows}) == 150


def test_fault_plan_is_reproducible_and_keeps_its_shares() -> None:
    shares = {"drop_after": 0.1, "too_many": 0.2}
    first, again = (
        [fault.kind if fault else "" for fault in (plan.next() for _ in range(2_000))]
        for plan in (FaultPlan(7, shares), FaultPlan(7, shares))
    )
    assert first == again
    assert abs(first.count("drop_after") / 2_000 - 0.1) < 0.03
    with pytest.raises(ValueError, match=r"add up to 1\.1"):
        FaultPlan(7, {"slow": 1.1})
    with bot_api(plan=FaultPlan(1, {"error_500": 1.0})) as api:
        with pytest.raises(NetworkError):
            call(api, send("x"))
        assert call(api, lambda bot: bot.get_updates(timeout=0)) == ()


def test_server_runs_as_a_program(tmp_path: Path) -> None:
    log = tmp_path / "requests.jsonl"
    program = [sys.executable, "-m", "tests.telegram_server", "--port", "0", "--log", str(log), "--limits"]
    process = subprocess.Popen([*program, "--faults", "too_many=1"], cwd=ROOT, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        answer = dict(part.split("=") for part in process.stdout.readline().split())
        api = BotApi(base_url=answer["TELEGRAM_BASE_URL"])
        with pytest.raises(RetryAfter):
            call(api, send("x"), token=answer["TELEGRAM_BOT_TOKEN"])
        assert json.loads(log.read_text())["answered_with"] == 429
    finally:
        process.kill()
        process.wait()
