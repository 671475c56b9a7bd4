"""A thousand alerts through every fault of Telegram, the network and the sender: none lost in silence."""

import random
import re
import time
from collections import defaultdict
from collections.abc import Iterable
from datetime import UTC, datetime
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine, text

from hybrid_ml.alerts.html import REPEAT
from hybrid_ml.alerts.telegram import TelegramSender
from tests.faults import sender
from tests.faults.table import FaultRows
from tests.outbox import PNG, deliveries, put, states
from tests.telegram_api import BotApi, Fault, FaultPlan, Row
from tests.telegram_rules import Limits
from tests.telegram_server import TOKEN, bot_api

ALERTS = 1_000
SHARES = {
    "too_many": 0.06, "error_500": 0.06, "bad_gateway": 0.04, "hang_before": 0.02, "hang_after": 0.03,
    "drop_before": 0.04, "drop_after": 0.04, "drop_half_way": 0.03, "garbage": 0.03, "slow": 0.05,
}  # fmt: skip
GOOD_CHATS = [str(100 + number) for number in range(44)]
BLOCKED, UNKNOWN, SILENT = "900", "901", "902"
HURRIED = range(0, ALERTS, 50)
"""These are fresh for four seconds only."""
MOST_SECONDS, LONGEST_LIFE_SECONDS = 450, 40


def asked_of(rows: Iterable[Row]) -> dict[str, list[Row]]:
    """The server's requests by the word of the alert they are about."""
    found = defaultdict(list)
    for row in rows:
        name = re.search(r"alert-\d+", row.text)
        if name and row.method.startswith("send"):
            found[name.group()].append(row)
    return found


def test_a_thousand_alerts_through_every_fault_and_kill(
    engine: Engine, home: Path, monkeypatch: pytest.MonkeyPatch, faults: FaultRows
) -> None:
    chance = random.Random(5)  # noqa: S311  # a repeatable choice is meant
    chats = [*GOOD_CHATS, BLOCKED, UNKNOWN, SILENT]
    for number in range(ALERTS):
        put(
            engine,
            number,
            [chats[number % len(chats)]],
            seconds=4 if number in HURRIED else 600,
            picture=PNG if number % 3 == 0 else None,
        )
    with engine.begin() as connection:
        connection.execute(text("INSERT INTO chats VALUES (:chat, NULL, now() + interval '1 day')"), {"chat": SILENT})
    started, kills, gone = time.monotonic(), 0, 0
    with bot_api(plan=FaultPlan(11, SHARES)) as api:
        api.known_chats, api.blocked_chats, api.hang_seconds = {*GOOD_CHATS, BLOCKED, SILENT}, {BLOCKED}, 30.0
        environment = {
            "NEON_CONN_STR": engine.url.render_as_string(hide_password=False),
            "TELEGRAM_BOT_TOKEN": TOKEN, "TELEGRAM_CHAT_ID": ",".join(chats), "TELEGRAM_BASE_URL": api.base_url,
        }  # fmt: skip
        while {"pending", "sending"} & states(engine).keys():
            assert time.monotonic() - started < MOST_SECONDS, states(engine)
            nobody_there = chance.random() < 0.1
            base_url = "http://127.0.0.1:9/bot" if nobody_there else api.base_url
            process = sender.start({**environment, "TELEGRAM_BASE_URL": base_url})
            if nobody_there:
                process.join(chance.uniform(0.1, 0.4))
            else:
                live_for(process, api, chance.randint(150, 450))
            gone += nobody_there
            if process.is_alive():
                process.kill()
                process.join()
                kills += 1
        rows = list(api.rows)
    seconds = time.monotonic() - started
    check_row_by_row(deliveries(engine), asked_of(rows))
    met = {row.fault for row in rows if row.fault}
    assert met == set(SHARES)
    assert kills >= 5
    assert gone >= 1
    message = ", ".join(f"{count} {state}" for state, count in sorted(states(engine).items()))
    faults.add(
        f"{ALERTS:,} alerts, {len(rows):,} requests, every fault of Telegram, {kills} x kill -9", message, seconds
    )


def live_for(process: BaseProcess, api: BotApi, requests: int) -> None:
    """Let a sender live for so many requests: a kill costs those under way, however quick the machine is."""
    target, until = len(api.rows) + requests, time.monotonic() + LONGEST_LIFE_SECONDS
    while process.is_alive() and len(api.rows) < target and time.monotonic() < until:
        process.join(0.01)


def check_row_by_row(outbox: dict[tuple[str, str], Any], requested: dict[str, list[Row]]) -> None:
    """What the outbox says of every delivery is what the server saw of it."""
    assert len(outbox) == ALERTS
    for (name, chat), delivery in outbox.items():
        rows = requested[name]
        taken = [row for row in rows if row.message_id is not None]
        marked = [row for row in taken if REPEAT in row.text]
        assert all(row.chat_id == chat for row in rows)
        # Never twice without saying so, and said so once at most.
        assert len(taken) - len(marked) <= 1, delivery
        assert len(marked) <= 1, delivery
        assert not marked or delivery.unsure >= 1
        # Who had an answer is not told that there was none.
        if any(row.acknowledged for row in taken):
            assert delivery.state in ("sent", "unconfirmed"), delivery
        if delivery.state == "sent":
            assert delivery.message_id in [row.message_id for row in taken if row.acknowledged]
            assert len(rows) <= delivery.attempts, delivery  # none after it was confirmed
        elif delivery.state == "unconfirmed":
            assert delivery.unsure in (1, 2)
            assert delivery.detail
        else:
            special = {BLOCKED: "refused", UNKNOWN: "refused", SILENT: "paused"}.get(chat, "expired")
            assert delivery.state in ({special, "expired"} if int(name[-5:]) in HURRIED else {special})
            assert not taken
            assert delivery.unsure == 0 or delivery.state == "refused"  # unanswered once, and then refused
        assert delivery.state != "refused" or "chat" in delivery.detail
    confirmed = [delivery.message_id for delivery in outbox.values() if delivery.state == "sent"]
    assert len(set(confirmed)) == len(confirmed) > ALERTS * 0.7


def test_a_burst_of_five_hundred_keeps_to_telegrams_limits(
    engine: Engine, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    chats = [*(str(number) for number in range(1, 40)), "-100500"]
    for number in range(500):
        put(engine, number, [chats[-1] if number % 100 == 0 else chats[number % 39]])
    let_go: list[tuple[str, float]] = []
    whole = TelegramSender.send

    async def noted(line: TelegramSender, chat_id: str, *message: Any) -> Any:
        let_go.append((chat_id, time.monotonic()))
        return await whole(line, chat_id, *message)

    monkeypatch.setattr(TelegramSender, "send", noted)
    with bot_api() as api:
        send_all(engine, api.base_url, patience_seconds=180)
        assert states(engine) == {"sent": 500}
    limits = Limits()
    assert [limits.wait_seconds(chat, at) for chat, at in let_go] == [0] * 500
    assert let_go[-1][1] - let_go[0][1] >= 500 / 30 - 1


def test_a_chat_in_trouble_holds_no_other_up(engine: Engine) -> None:
    for number in range(20):
        put(engine, number, ["1", "2", "3"][number % 3 : number % 3 + 1])
    with bot_api() as api:
        api.migrated_chats["3"] = -1003
        api.orders_to["1"] = [Fault("too_many", retry_after_seconds=60)]
        send_all(engine, api.base_url, patience_seconds=16)
        found = deliveries(engine)
    by_chat = {chat: {row.state for (_, item), row in found.items() if item == chat} for chat in ("1", "2", "3")}
    assert by_chat == {"1": {"pending"}, "2": {"sent"}, "3": {"refused"}}
    assert all("-1003" in row.detail for (_, chat), row in found.items() if chat == "3")
    assert datetime.now(UTC).timestamp() < min(
        row.next_try_at.timestamp() for row in found.values() if row.chat_id == "1" and row.attempts
    )


def send_all(engine: Engine, base_url: str, patience_seconds: float) -> None:
    """One sender at the pace of service, until nothing is left or patience is at an end."""
    import asyncio

    from pydantic import SecretStr

    from hybrid_ml.alerts.delivery import Deliverer
    from hybrid_ml.alerts.telegram import TelegramSender, make_bot

    async def send() -> None:
        line = TelegramSender(make_bot(SecretStr(TOKEN), base_url))
        await Deliverer(engine, line).deliver(patience_seconds)

    asyncio.run(send())
