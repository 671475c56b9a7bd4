"""Many alerts with every fault of Telegram, network and sender: each ends in a recorded state."""

import random
import re
import time
from collections import defaultdict
from collections.abc import Iterable
from datetime import UTC, datetime
from multiprocessing.process import BaseProcess
from typing import Any

import pytest
from sqlalchemy import Engine, text

from hybrid_ml.alerts.html import REPEAT
from hybrid_ml.alerts.telegram import TelegramSender
from tests.faults import sender
from tests.faults.sample import sample
from tests.faults.table import FaultRows
from tests.outbox import PNG, deliveries, states, write_alert
from tests.telegram_api import BotApi, Fault, FaultPlan, Row
from tests.telegram_rules import Limits
from tests.telegram_server import TOKEN, bot_api

SHARES = {
    "too_many": 0.06, "error_500": 0.06, "bad_gateway": 0.04, "hang_before": 0.02, "hang_after": 0.03,
    "drop_before": 0.04, "drop_after": 0.04, "drop_half_way": 0.03, "garbage": 0.03, "slow": 0.05,
}  # fmt: skip
GOOD_CHATS = [str(100 + number) for number in range(44)]
BLOCKED, UNKNOWN, SILENT = "900", "901", "902"
SHORT_LIVED = range(0, 1_000, 50)
"""Numbers of alerts that are valid for four seconds only."""
MOST_SECONDS, LONGEST_LIFE_SECONDS = 450, 40


def requests_by_alert(rows: Iterable[Row]) -> dict[str, list[Row]]:
    """The server's requests by the name of their alert."""
    results = defaultdict(list)
    for row in rows:
        name = re.search(r"alert-\d+", row.text)
        if name and row.method.startswith("send"):
            results[name.group()].append(row)
    return results


@pytest.mark.parametrize(("alerts", "least", "most"), sample([(1_000, 150, 450), (300, 30, 90)], (300, 30, 90)))
def test_alerts_with_faults_and_kills_end_in_recorded_states(
    engine: Engine, faults: FaultRows, alerts: int, least: int, most: int
) -> None:
    """Between two kills of the sender are `least` to `most` requests."""
    random_generator = random.Random(5)  # noqa: S311  # deterministic on purpose
    chats = [*GOOD_CHATS, BLOCKED, UNKNOWN, SILENT]
    for number in range(alerts):
        write_alert(
            engine,
            number,
            [chats[number % len(chats)]],
            seconds=4 if number in SHORT_LIVED else 600,
            picture=PNG if number % 3 == 0 else None,
        )
    with engine.begin() as connection:
        connection.execute(text("INSERT INTO chats VALUES (:chat, NULL, now() + interval '1 day')"), {"chat": SILENT})
    started, kills, unreachable_runs = time.monotonic(), 0, 0
    with bot_api(plan=FaultPlan(11, SHARES)) as api:
        api.known_chats, api.blocked_chats, api.hang_seconds = {*GOOD_CHATS, BLOCKED, SILENT}, {BLOCKED}, 30.0
        environment = {
            "NEON_CONN_STR": engine.url.render_as_string(hide_password=False),
            "TELEGRAM_BOT_TOKEN": TOKEN, "TELEGRAM_CHAT_ID": ",".join(chats), "TELEGRAM_BASE_URL": api.base_url,
        }  # fmt: skip
        while {"pending", "sending"} & states(engine).keys():
            assert time.monotonic() - started < MOST_SECONDS, states(engine)
            unreachable = random_generator.random() < 0.1
            base_url = "http://127.0.0.1:9/bot" if unreachable else api.base_url
            process = sender.start({**environment, "TELEGRAM_BASE_URL": base_url})
            if unreachable:
                process.join(random_generator.uniform(0.1, 0.4))
            else:
                wait_for_requests(process, api, random_generator.randint(least, most))
            unreachable_runs += unreachable
            if process.is_alive():
                process.kill()
                process.join()
                kills += 1
        rows = list(api.rows)
    seconds = time.monotonic() - started
    check_deliveries(deliveries(engine), requests_by_alert(rows), alerts)
    faults_seen = {row.fault for row in rows if row.fault}
    assert faults_seen == set(SHARES)
    assert kills >= 5
    assert unreachable_runs >= 1
    message = ", ".join(f"{count} {state}" for state, count in sorted(states(engine).items()))
    faults.add(
        f"{alerts:,} alerts, {len(rows):,} requests, every fault of Telegram, {kills} x kill -9", message, seconds
    )


def wait_for_requests(process: BaseProcess, api: BotApi, requests: int) -> None:
    """Let a sender run for `requests` requests, so that a kill interrupts some on any machine."""
    target, until = len(api.rows) + requests, time.monotonic() + LONGEST_LIFE_SECONDS
    while process.is_alive() and len(api.rows) < target and time.monotonic() < until:
        process.join(0.01)


def check_deliveries(outbox: dict[tuple[str, str], Any], requested: dict[str, list[Row]], alerts: int) -> None:
    """Compare every delivery of the outbox with the requests that the server received."""
    assert len(outbox) == alerts
    for (name, chat), delivery in outbox.items():
        rows = requested[name]
        accepted = [row for row in rows if row.message_id is not None]
        marked = [row for row in accepted if REPEAT in row.text]
        assert all(row.chat_id == chat for row in rows)
        # Repeated only with a note in the text, and at most once.
        assert len(accepted) - len(marked) <= 1, delivery
        assert len(marked) <= 1, delivery
        assert not marked or delivery.unsure >= 1
        # A confirmed message is never recorded as not sent.
        if any(row.acknowledged for row in accepted):
            assert delivery.state in ("sent", "unconfirmed"), delivery
        if delivery.state == "sent":
            assert delivery.message_id in [row.message_id for row in accepted if row.acknowledged]
            assert len(rows) <= delivery.attempts, delivery  # no request after the confirmation
        elif delivery.state == "unconfirmed":
            assert delivery.unsure in (1, 2)
            assert delivery.detail
        else:
            special = {BLOCKED: "refused", UNKNOWN: "refused", SILENT: "paused"}.get(chat, "expired")
            assert delivery.state in ({special, "expired"} if int(name[-5:]) in SHORT_LIVED else {special})
            assert not accepted
            assert delivery.unsure == 0 or delivery.state == "refused"  # without an answer once, then refused
        assert delivery.state != "refused" or "chat" in delivery.detail
    confirmed = [delivery.message_id for delivery in outbox.values() if delivery.state == "sent"]
    assert len(set(confirmed)) == len(confirmed) > alerts * 0.7


@pytest.mark.parametrize("alerts", sample([500, 150], 150))
def test_burst_of_alerts_respects_telegram_limits(engine: Engine, monkeypatch: pytest.MonkeyPatch, alerts: int) -> None:
    chats = [*(str(number) for number in range(1, 40)), "-100500"]
    for number in range(alerts):
        write_alert(engine, number, [chats[-1] if number % (alerts // 5) == 0 else chats[number % 39]])
    sends: list[tuple[str, float]] = []
    original_send = TelegramSender.send

    async def record_send(sender: TelegramSender, chat_id: str, *message: Any) -> Any:
        sends.append((chat_id, time.monotonic()))
        return await original_send(sender, chat_id, *message)

    monkeypatch.setattr(TelegramSender, "send", record_send)
    with bot_api() as api:
        send_all(engine, api.base_url, patience_seconds=180)
        assert states(engine) == {"sent": alerts}
    limits = Limits()
    assert [limits.wait_seconds(chat, at) for chat, at in sends] == [0] * alerts
    assert sends[-1][1] - sends[0][1] >= alerts / 30 - 1


def test_failing_chat_does_not_delay_other_chats(engine: Engine) -> None:
    for number in range(20):
        write_alert(engine, number, ["1", "2", "3"][number % 3 : number % 3 + 1])
    with bot_api() as api:
        api.migrated_chats["3"] = -1003
        api.orders_to["1"] = [Fault("too_many", retry_after_seconds=60)]
        send_all(engine, api.base_url, patience_seconds=16)
        results = deliveries(engine)
    by_chat = {chat: {row.state for (_, item), row in results.items() if item == chat} for chat in ("1", "2", "3")}
    assert by_chat == {"1": {"pending"}, "2": {"sent"}, "3": {"refused"}}
    assert all("-1003" in row.detail for (_, chat), row in results.items() if chat == "3")
    assert datetime.now(UTC).timestamp() < min(
        row.next_try_at.timestamp() for row in results.values() if row.chat_id == "1" and row.attempts
    )


def send_all(engine: Engine, base_url: str, patience_seconds: float) -> None:
    """Run one sender at the production rate, until nothing is left or `patience_seconds` are over."""
    import asyncio

    from pydantic import SecretStr

    from hybrid_ml.alerts.delivery import Deliverer
    from hybrid_ml.alerts.telegram import TelegramSender, make_bot

    async def send() -> None:
        sender = TelegramSender(make_bot(SecretStr(TOKEN), base_url))
        await Deliverer(engine, sender).deliver(patience_seconds)

    asyncio.run(send())
