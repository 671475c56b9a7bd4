"""The outbox: who may send what and when, whatever time and other senders do."""

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
from tests.outbox import deliveries, prediction, put, states
from tests.telegram_api import BotApi, Fault
from tests.telegram_server import TOKEN, bot_api

AS_OF = datetime(2024, 2, 1, tzinfo=UTC)


def do(engine: Engine, work: Callable[..., Any], *given: Any, **named: Any) -> Any:
    with engine.begin() as connection:
        return work(connection, *given, **named)


def claim(engine: Engine, chat: str = "1", lease_seconds: float = 60) -> Claimed | None:
    return do(engine, outbox.claim, chat, uuid4(), lease_seconds)


def age(engine: Engine, changes: str) -> None:
    with engine.begin() as connection:
        connection.execute(text(changes))


def send(engine: Engine, api: BotApi, patience_seconds: float = 15) -> None:
    async def work() -> None:
        line = TelegramSender(make_bot(SecretStr(TOKEN), api.base_url))
        await Deliverer(engine, line).deliver(patience_seconds)

    asyncio.run(work())


def test_an_alert_is_written_once_and_claimed_once(engine: Engine) -> None:
    put(engine, 1, ["1"])
    with engine.begin() as connection:
        again = Alert("summary", "", datetime(2024, 2, 3, tzinfo=UTC), None, "x", None, datetime.now(UTC))
        assert not outbox.write(connection, again, [Recipient("1")])
    with engine.begin() as one, engine.begin() as other:
        assert outbox.claim(one, "1", uuid4(), 60) is not None
        assert outbox.claim(other, "1", uuid4(), 60) is None
    assert claim(engine) is None


def test_a_lease_that_ran_out_is_repeated_once_marked_and_then_left_unconfirmed(engine: Engine) -> None:
    put(engine, 1, ["1"])
    first = claim(engine, lease_seconds=0)
    assert first is not None
    assert not first.unsure
    assert do(engine, outbox.expire_due) == {"pending": 1}
    second = claim(engine, lease_seconds=0)
    assert second is not None
    assert second.unsure
    assert not do(engine, outbox.settle, first, "sent", message_id=7)  # the first sender comes too late
    assert do(engine, outbox.expire_due) == {"unconfirmed": 1}
    assert claim(engine) is None


@pytest.mark.parametrize(
    ("unsure", "expected"), [(False, "expired"), (True, "unconfirmed")], ids=["never handed over", "perhaps arrived"]
)
def test_what_is_no_longer_fresh_is_not_sent(engine: Engine, unsure: bool, expected: str) -> None:
    put(engine, 1, ["1"])
    if unsure:
        do(engine, outbox.mark_unconfirmed, claim(engine), "silence")
    age(engine, "UPDATE alerts SET send_until = now() - interval '1 second'")
    assert claim(engine) is None
    assert do(engine, outbox.expire_due) == {expected: 1}


def test_a_repeat_that_is_refused_may_still_have_arrived(engine: Engine) -> None:
    put(engine, 1, ["1"])
    do(engine, outbox.mark_unconfirmed, claim(engine), "silence")
    do(engine, outbox.settle, claim(engine), "refused", "blocked")
    assert states(engine) == {"unconfirmed": 1}


def test_a_pause_takes_what_falls_due_in_it_and_nothing_else(engine: Engine) -> None:
    put(engine, 1, ["1"])
    put(engine, 2, ["1"])
    age(engine, "UPDATE deliveries SET next_try_at = now() + interval '3 hours' WHERE id = 2")
    age(engine, "INSERT INTO chats VALUES ('1', NULL, now() + interval '1 minute')")
    assert claim(engine) is None
    assert do(engine, outbox.expire_due) == {"paused": 1}
    assert states(engine) == {"paused": 1, "pending": 1}


def test_an_outcome_waits_until_every_chat_has_its_signal_and_goes_to_all_of_them(engine: Engine) -> None:
    with engine.begin() as connection:
        recorded = predictions.record(connection, prediction(AS_OF))
        message = Alert("signal", "ABC", AS_OF, recorded.id, "x", None, datetime.now(UTC) + timedelta(minutes=5))
        outbox.write(connection, message, [Recipient("1"), Recipient("2")])
        connection.execute(text("UPDATE predictions SET outcome = 'up', resolved_at = :t"), {"t": AS_OF})
    do(engine, outbox.settle, claim(engine, "1"), "sent", message_id=7)
    unconfirmed_failures = (predictions.unreported_outcomes, AS_OF - timedelta(hours=1), AS_OF)
    assert do(engine, *unconfirmed_failures) == []
    held = claim(engine, "2")
    assert do(engine, *unconfirmed_failures) == []
    do(engine, outbox.settle, held, "sent", message_id=8)
    assert do(engine, *unconfirmed_failures) == [recorded.id]
    assert do(engine, outbox.recipients_of, recorded.id) == [Recipient("1", 7), Recipient("2", 8)]


def test_one_broken_claim_stops_neither_that_chat_nor_others(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    for number in range(4):
        put(engine, number, ["1", "2"][number % 2 : number % 2 + 1])
    broken = []

    def breaks_once(*given: Any, **named: Any) -> Claimed | None:
        if not broken:
            broken.append(1)
            raise RuntimeError("the connection is gone")
        return whole(*given, **named)

    whole = outbox.claim
    monkeypatch.setattr(outbox, "claim", breaks_once)
    with bot_api() as api:
        send(engine, api)
    assert broken
    assert states(engine) == {"sent": 4}


@pytest.mark.parametrize("body", [{"ok": True, "result": {}}, {"ok": True, "result": True}, {"ok": True}, []])
def test_an_answer_that_is_no_message_leaves_it_open_whether_it_arrived(engine: Engine, body: Any) -> None:
    put(engine, 1, ["1"])
    with bot_api() as api:
        api.orders += [(200, body), (200, body)]
        send(engine, api)
    assert states(engine) == {"unconfirmed": 1}


def test_a_refusal_with_odd_words_is_kept_in_plain_ones(engine: Engine) -> None:
    put(engine, 1, ["1"])
    with bot_api() as api:
        api.orders.append((403, {"ok": False, "error_code": 403, "description": "Forbidden: \x00" + 5_000 * "x"}))
        send(engine, api)
    [row] = deliveries(engine).values()
    assert row.state == "refused"
    assert "\x00" not in row.detail
    assert len(row.detail) < 500


def test_nobody_waits_for_what_is_due_after_patience_is_over(engine: Engine) -> None:
    put(engine, 1, ["1"])
    put(engine, 2, ["2"])
    age(engine, "UPDATE deliveries SET next_try_at = now() + interval '3 hours' WHERE chat_id = '2'")
    started = datetime.now(UTC)
    with bot_api() as api:
        send(engine, api, patience_seconds=30)
    assert states(engine) == {"sent": 1, "pending": 1}
    assert datetime.now(UTC) - started < timedelta(seconds=25)


def test_a_group_gets_what_is_alone_at_once(engine: Engine) -> None:
    with bot_api() as api:
        for number in range(3):
            put(engine, number, ["-1001234"])
            started = datetime.now(UTC)
            send(engine, api)
            assert datetime.now(UTC) - started < timedelta(seconds=3)
    assert states(engine) == {"sent": 3}


def test_when_sending_fails_as_a_whole_no_message_is_under_way(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    for number in range(8):
        put(engine, number, ["1"])
    calls, whole = [], outbox.expire_due

    def breaks_later(connection: Any) -> dict[str, int]:
        calls.append(1)
        if len(calls) > 1:
            raise RuntimeError("the database is gone")
        return whole(connection)

    monkeypatch.setattr(outbox, "expire_due", breaks_later)
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
def test_a_refusal_for_good_is_kept_with_its_remedy(engine: Engine, status: int, description: str, advice: str) -> None:
    put(engine, 1, ["1"])
    with bot_api() as api:
        api.orders.append((status, {"ok": False, "error_code": status, "description": description}))
        send(engine, api)
        assert api.messages == []
    [row] = deliveries(engine).values()
    assert (row.state, row.attempts) == ("refused", 1)
    assert advice in row.detail
    assert TOKEN not in row.detail


@pytest.mark.parametrize("fault", ["error_500", "bad_gateway", "too_many", "drop_before", "drop_after", "garbage"])
def test_a_troubled_telegram_is_asked_again(engine: Engine, fault: str) -> None:
    put(engine, 1, ["1"])
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
