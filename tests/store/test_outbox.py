"""The outbox: claims, leases, expiry, pauses, and concurrent senders."""

import asyncio
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import pytest
from pydantic import SecretStr
from sqlalchemy import Engine, text

from hybrid_ml.alerts.delivery import Deliverer
from hybrid_ml.alerts.telegram import TelegramSender, make_bot
from hybrid_ml.store import outbox, predictions
from hybrid_ml.store.outbox import Alert, Claimed, Recipient
from tests.outbox import deliveries, prediction, states, write_alert
from tests.telegram_api import BotApi, Fault
from tests.telegram_server import TOKEN, bot_api

AS_OF = datetime(2024, 2, 1, tzinfo=UTC)


def in_transaction(engine: Engine, work: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    with engine.begin() as connection:
        return work(connection, *args, **kwargs)


def claim(engine: Engine, chat: str = "1", lease_seconds: float = 60) -> Claimed | None:
    return in_transaction(engine, outbox.claim, chat, uuid4(), lease_seconds)


def execute(engine: Engine, changes: str) -> None:
    with engine.begin() as connection:
        connection.execute(text(changes))


def send(engine: Engine, api: BotApi, patience_seconds: float = 15) -> None:
    async def work() -> None:
        sender = TelegramSender(make_bot(SecretStr(TOKEN), api.base_url))
        await Deliverer(engine, sender).deliver(patience_seconds)

    asyncio.run(work())


def test_alert_is_written_once_and_claimed_once(engine: Engine) -> None:
    write_alert(engine, 1, ["1"])
    with engine.begin() as connection:
        again = Alert("summary", "", datetime(2024, 2, 3, tzinfo=UTC), None, "x", None, datetime.now(UTC))
        assert not outbox.write(connection, again, [Recipient("1")])
    with engine.begin() as first, engine.begin() as other:
        assert outbox.claim(first, "1", uuid4(), 60) is not None
        assert outbox.claim(other, "1", uuid4(), 60) is None
    assert claim(engine) is None


def test_delivery_with_expired_lease_is_repeated_once_then_unconfirmed(engine: Engine) -> None:
    write_alert(engine, 1, ["1"])
    first = claim(engine, lease_seconds=0)
    assert first is not None
    assert not first.unsure
    assert in_transaction(engine, outbox.expire_due) == {"pending": 1}
    second = claim(engine, lease_seconds=0)
    assert second is not None
    assert second.unsure
    assert not in_transaction(engine, outbox.settle, first, "sent", message_id=7)  # the first sender's lease is over
    assert in_transaction(engine, outbox.expire_due) == {"unconfirmed": 1}
    assert claim(engine) is None


@pytest.mark.parametrize(
    ("unsure", "expected"), [(False, "expired"), (True, "unconfirmed")], ids=["never sent", "may have arrived"]
)
def test_expired_alert_is_not_sent(engine: Engine, unsure: bool, expected: str) -> None:
    write_alert(engine, 1, ["1"])
    if unsure:
        in_transaction(engine, outbox.mark_unconfirmed, claim(engine), "silence")
    execute(engine, "UPDATE alerts SET send_until = now() - interval '1 second'")
    assert claim(engine) is None
    assert in_transaction(engine, outbox.expire_due) == {expected: 1}


def test_refused_repeat_is_unconfirmed(engine: Engine) -> None:
    write_alert(engine, 1, ["1"])
    in_transaction(engine, outbox.mark_unconfirmed, claim(engine), "silence")
    in_transaction(engine, outbox.settle, claim(engine), "refused", "blocked")
    assert states(engine) == {"unconfirmed": 1}


def test_pause_applies_only_to_deliveries_due_in_it(engine: Engine) -> None:
    write_alert(engine, 1, ["1"])
    write_alert(engine, 2, ["1"])
    execute(engine, "UPDATE deliveries SET next_try_at = now() + interval '3 hours' WHERE id = 2")
    execute(engine, "INSERT INTO chats VALUES ('1', NULL, now() + interval '1 minute')")
    assert claim(engine) is None
    assert in_transaction(engine, outbox.expire_due) == {"paused": 1}
    assert states(engine) == {"paused": 1, "pending": 1}


def test_outcome_waits_until_all_chats_have_the_signal(engine: Engine) -> None:
    with engine.begin() as connection:
        recorded = predictions.record(connection, prediction(AS_OF))
        message = Alert("signal", "ABC", AS_OF, recorded.id, "x", None, datetime.now(UTC) + timedelta(minutes=5))
        outbox.write(connection, message, [Recipient("1"), Recipient("2")])
        connection.execute(text("UPDATE predictions SET outcome = 'up', resolved_at = :t"), {"t": AS_OF})
    in_transaction(engine, outbox.settle, claim(engine, "1"), "sent", message_id=7)
    unreported = (predictions.unreported_outcomes, AS_OF - timedelta(hours=1), AS_OF)
    assert in_transaction(engine, *unreported) == []
    held = claim(engine, "2")
    assert in_transaction(engine, *unreported) == []
    in_transaction(engine, outbox.settle, held, "sent", message_id=8)
    assert in_transaction(engine, *unreported) == [recorded.id]
    assert in_transaction(engine, outbox.recipients_of, recorded.id) == [Recipient("1", 7), Recipient("2", 8)]


def test_failed_claim_stops_no_chat(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    for number in range(4):
        write_alert(engine, number, ["1", "2"][number % 2 : number % 2 + 1])
    failures = []

    def fail_once(*args: Any, **kwargs: Any) -> Claimed | None:
        if not failures:
            failures.append(1)
            raise RuntimeError("the connection is gone")
        return original(*args, **kwargs)

    original = outbox.claim
    monkeypatch.setattr(outbox, "claim", fail_once)
    with bot_api() as api:
        send(engine, api)
    assert failures
    assert states(engine) == {"sent": 4}


@pytest.mark.parametrize("body", [{"ok": True, "result": {}}, {"ok": True, "result": True}, {"ok": True}, []])
def test_answer_without_message_leaves_delivery_unconfirmed(engine: Engine, body: Any) -> None:
    write_alert(engine, 1, ["1"])
    with bot_api() as api:
        api.orders += [(200, body), (200, body)]
        send(engine, api)
    assert states(engine) == {"unconfirmed": 1}


def test_refusal_text_is_stored_sanitized(engine: Engine) -> None:
    write_alert(engine, 1, ["1"])
    with bot_api() as api:
        api.orders.append((403, {"ok": False, "error_code": 403, "description": "Forbidden: \x00" + 5_000 * "x"}))
        send(engine, api)
    [row] = deliveries(engine).values()
    assert row.state == "refused"
    assert "\x00" not in row.detail
    assert len(row.detail) < 500


def test_sender_does_not_wait_beyond_its_time_limit(engine: Engine) -> None:
    write_alert(engine, 1, ["1"])
    write_alert(engine, 2, ["2"])
    execute(engine, "UPDATE deliveries SET next_try_at = now() + interval '3 hours' WHERE chat_id = '2'")
    started = datetime.now(UTC)
    with bot_api() as api:
        send(engine, api, patience_seconds=30)
    assert states(engine) == {"sent": 1, "pending": 1}
    assert datetime.now(UTC) - started < timedelta(seconds=25)


def test_single_alert_to_a_group_is_sent_at_once(engine: Engine) -> None:
    with bot_api() as api:
        for number in range(3):
            write_alert(engine, number, ["-1001234"])
            started = datetime.now(UTC)
            send(engine, api)
            assert datetime.now(UTC) - started < timedelta(seconds=3)
    assert states(engine) == {"sent": 3}


def test_failed_sender_leaves_no_delivery_sending(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    for number in range(8):
        write_alert(engine, number, ["1"])
    calls, original = [], outbox.expire_due

    def fail_later(connection: Any) -> dict[str, int]:
        calls.append(1)
        if len(calls) > 1:
            raise RuntimeError("the database is gone")
        return original(connection)

    monkeypatch.setattr(outbox, "expire_due", fail_later)
    with bot_api() as api:
        api.orders.append(Fault("slow"))
        with pytest.raises(RuntimeError, match="is gone"):
            send(engine, api)
        sent = len(api.messages)
        assert "sending" not in states(engine)
        asyncio.run(asyncio.sleep(1.5))
        assert len(api.messages) == sent


@pytest.mark.parametrize(
    ("status", "description", "advice"),
    [
        (400, "Bad Request: chat not found", "TELEGRAM_CHAT_ID"),
        (401, "Unauthorized", "TELEGRAM_BOT_TOKEN"),
        (403, "Forbidden: bot was blocked by the user", "unblock"),
        (400, "Bad Request: message is too long", "essage is too long"),
    ],
)
def test_permanent_refusal_is_stored_with_remedy(engine: Engine, status: int, description: str, advice: str) -> None:
    write_alert(engine, 1, ["1"])
    with bot_api() as api:
        api.orders.append((status, {"ok": False, "error_code": status, "description": description}))
        send(engine, api)
        assert api.messages == []
    [row] = deliveries(engine).values()
    assert (row.state, row.attempts) == ("refused", 1)
    assert advice in row.detail
    assert TOKEN not in row.detail


@pytest.mark.parametrize("fault", ["error_500", "bad_gateway", "too_many", "drop_before", "drop_after", "garbage"])
def test_temporary_telegram_fault_is_retried(engine: Engine, fault: str) -> None:
    write_alert(engine, 1, ["1"])
    with bot_api() as api:
        api.orders.append(Fault(fault, retry_after_seconds=2))
        send(engine, api)
        texts = [message["text"] for message in api.messages]
        rows = [row for row in api.rows if row.method == "sendMessage"]
        assert api.violations == 0
    assert states(engine) == {"sent": 1}
    assert len(texts) == (2 if fault in ("drop_after", "garbage") else 1)
    assert ("may have arrived" in texts[-1]) == (fault in ("drop_before", "drop_after", "garbage"))
    if fault == "too_many":
        assert rows[1].at - rows[0].at >= 2
