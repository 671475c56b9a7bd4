"""Alerts of a live analysis: sent once to the subscribed chats, with a chart, and answered with their outcome."""

import html
import json
import time
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import Engine, text

from flows.analysis import analysis
from hybrid_ml.schemas.requests import AnalysisRequest
from hybrid_ml.store.bars import store_bars
from tests.flows.running import AS_OF, SURE, analyze, rows, run
from tests.telegram_api import BotApi, Fault
from tests.telegram_server import TOKEN

STATES = "SELECT kind, chat_id, state FROM deliveries JOIN alerts ON alerts.id = alert_id ORDER BY alerts.id, chat_id"


MOMENTS: dict[str, datetime] = {}
"""The moment that `signal_request` found, for each request: `trained` gives the same answers to every test."""


def signal_request(**changes: Any) -> dict[str, Any]:
    """A request for a time after AS_OF whose answer is not FLAT, with bounds that it passes."""
    key = repr(changes)
    if key not in MOMENTS:
        MOMENTS[key] = moment_of_a_signal(**changes)
    return {"fast_mode": True, "as_of": MOMENTS[key], **SURE, **changes}


def moment_of_a_signal(**changes: Any) -> datetime:
    for step in range(20):
        moment = AS_OF + timedelta(minutes=10 * step)
        answer = analyze(fast_mode=True, as_of=moment, **SURE, max_signals=0, **changes)
        if answer.refused_by == ["max_signals"]:
            return moment
    raise AssertionError("twenty answers and none of them DOWN or UP over the bar")


def refusal(status: int, description: str) -> tuple[int, dict[str, Any]]:
    return status, {"ok": False, "error_code": status, "description": description}


def test_alert_with_refused_chart_is_sent_as_text(trained: Engine, telegram: BotApi) -> None:
    telegram.orders.append(refusal(400, "Bad Request: IMAGE_PROCESS_FAILED"))
    answer = analyze(**signal_request())
    assert answer.alert == "sent"
    assert [message["method"] for message in telegram.messages] == ["sendMessage"]
    assert f"ABC {answer.direction.upper()}" in telegram.messages[0]["text"]


def test_alert_without_chart_is_sent_as_text(
    trained: Engine, telegram: BotApi, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: Any, **__: Any) -> bytes:
        raise OSError("no font")

    monkeypatch.setattr("hybrid_ml.alerts.compose.call_chart", broken)
    assert analyze(**signal_request()).alert == "sent"
    assert [message["method"] for message in telegram.messages] == ["sendMessage"]


def test_alert_is_logged_without_telegram(trained: Engine) -> None:
    answer = analyze(**signal_request())
    assert answer.alert == "logged"
    assert rows(trained, STATES) == [("signal", "", "logged")]


def test_permanent_refusal_fails_the_run_with_remedy(trained: Engine, telegram: BotApi) -> None:
    request = signal_request()
    telegram.orders.append(refusal(401, "Unauthorized"))
    state, report = run(analysis, AnalysisRequest(**request))
    assert state.is_failed()
    assert "TELEGRAM_BOT_TOKEN" in report.failures[0].error
    assert TOKEN not in state.message
    assert report.analyses[0].alert == "not sent to all"
    assert rows(trained, STATES) == [("signal", "42", "refused")]
    assert telegram.messages == []


def test_unconfirmed_alert_is_sent_again_with_a_note(trained: Engine, telegram: BotApi) -> None:
    request = signal_request()
    telegram.orders.append(Fault("drop_after"))
    assert analyze(**request).alert == "sent"
    captions = [message["caption"] for message in telegram.messages]
    assert ["may have arrived" in caption for caption in captions] == [False, True]


def test_alerts_follow_the_preferences_of_each_chat(
    trained: Engine, telegram: BotApi, monkeypatch: pytest.MonkeyPatch
) -> None:
    preferences = [{"chat_id": "43", "min_confidence": 1.0}, {"chat_id": "44", "symbols": ["XYZ"]},
              {"chat_id": "45", "symbols": ["ABC"]}]  # fmt: skip
    monkeypatch.setenv("TELEGRAM_CHATS", json.dumps(preferences))
    with trained.begin() as connection:
        connection.execute(text("INSERT INTO chats VALUES ('42', NULL, now() + interval '1 day')"))
    assert analyze(**signal_request()).alert == "paused, sent"
    assert [message["chat_id"] for message in telegram.messages] == ["45"]
    assert rows(trained, STATES) == [("signal", "42", "paused"), ("signal", "45", "sent")]


def test_signal_without_subscribed_chat_is_recorded(
    trained: Engine, telegram: BotApi, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TELEGRAM_CHATS", '[{"chat_id": "42", "symbols": ["XYZ"]}]')
    assert analyze(**signal_request()).alert == "no chat wants this symbol"
    assert rows(trained, "SELECT count(*) FROM alerts") == [(1,)]
    assert telegram.messages == []


def test_signal_is_sent_once_with_its_chart_and_gets_a_reply_with_its_outcome(
    trained: Engine, telegram: BotApi
) -> None:
    request = signal_request(report_outcomes=True)
    first, second = analyze(**request), analyze(**request)
    assert (first.signal, first.alert) == (True, "sent")
    assert second.alert == "sent"
    [call] = telegram.messages
    assert (call["chat_id"], call["method"], call["parse_mode"]) == ("42", "sendPhoto", "HTML")
    assert f"ABC {first.direction.upper()}" in call["caption"]
    assert int(call["picture_bytes"]) > 10_000
    assert rows(trained, STATES) == [("signal", "42", "sent")]
    confirmed = rows(trained, "SELECT message_id, attempts, unsure, detail FROM deliveries")
    assert confirmed == [(int(call["message_id"]), 1, 0, "")]
    no_signal = {"min_confidence": 1.0, "fast_mode": True}
    analyze(**{**request, **no_signal, "as_of": request["as_of"] + timedelta(minutes=10)})
    _, reply = telegram.messages
    assert json.loads(reply["reply_parameters"])["message_id"] == int(call["message_id"])
    [(outcome, forward_return)] = rows(trained, "SELECT outcome, forward_return FROM predictions WHERE signal")
    message = html.unescape(reply["text"])
    assert ("✓ Right" if outcome == first.direction else "✗ Wrong") in message
    in_direction = forward_return * 1e4 * (1 if first.direction == "up" else -1)
    assert f"{in_direction:+,.1f} bps" in message
    assert rows(trained, STATES) == [("signal", "42", "sent"), ("outcome", "42", "sent")]
    analyze(**{**request, **no_signal, "as_of": request["as_of"] + timedelta(minutes=20)})
    assert len(telegram.messages) == 2


def test_nothing_is_sent_in_quiet_hours(trained: Engine, telegram: BotApi) -> None:
    request = signal_request(report_outcomes=True)
    begin = (request["as_of"] + timedelta(minutes=5)).strftime("%H:%M")
    window = {"sleep_window": f"{begin}-{(request['as_of'] + timedelta(hours=3)):%H:%M}", "sleep_timezone": "UTC"}
    assert analyze(**request, **window).alert == "sent"
    state, report = run(
        analysis, AnalysisRequest(**{**request, **window, "as_of": request["as_of"] + timedelta(minutes=10)})
    )
    assert (state.name, report.asleep) == ("Asleep", True)
    # The signal has an outcome nevertheless; the reply waits for the end of quiet hours.
    assert rows(trained, "SELECT outcome IS NOT NULL FROM predictions WHERE signal") == [(True,)]
    assert len(telegram.messages) == 1
    times = rows(trained, "SELECT kind, send_after - created_at, send_until - created_at FROM alerts ORDER BY id")
    assert times[0][2] < timedelta(minutes=5)  # a signal expires when quiet hours begin
    assert timedelta(hours=2, minutes=45) < times[1][1] < timedelta(hours=3)


def test_alert_expires_after_ten_minutes(trained: Engine, telegram: BotApi) -> None:
    request = signal_request()
    telegram.orders += [Fault("error_500")] * 50
    late = {
        **request,
        "sleep_window": f"{request['as_of'] + timedelta(minutes=1):%H:%M}-23:59",
        "sleep_timezone": "UTC",
    }
    state, report = run(analysis, AnalysisRequest(**{**late, "as_of": request["as_of"] + timedelta(seconds=56)}))
    assert state.is_failed()
    assert "expired" in report.failures[0].error
    assert rows(trained, STATES) == [("signal", "42", "expired")]
    assert telegram.messages == []


def test_bars_older_than_ten_minutes_give_no_signal(trained: Engine, telegram: BotApi) -> None:
    request = signal_request()
    with trained.begin() as connection:
        connection.execute(text("DELETE FROM bars WHERE time >= :t"), {"t": request["as_of"]})
    over = analyze(**{**request, "as_of": request["as_of"] + timedelta(minutes=12)})
    assert over.refused_by == ["freshness"]
    assert rows(trained, "SELECT signal FROM predictions WHERE bar_time = (SELECT max(time) FROM bars)") == [(False,)]
    assert rows(trained, STATES) == []


def test_flood_control_of_one_chat_does_not_delay_other_chats_or_symbols(
    trained: Engine, telegram: BotApi, bars: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TELEGRAM_CHAT_ID", "42,43")
    request = signal_request()
    store_bars(trained, "XYZ", bars)
    flood_control = {
        "ok": False,
        "error_code": 429,
        "description": "Too Many Requests",
        "parameters": {"retry_after": 300},
    }
    telegram.orders.append((429, flood_control))
    started = time.monotonic()
    state, report = run(analysis, AnalysisRequest(**request, symbols=["ABC", "XYZ"]))
    assert time.monotonic() - started < 200
    assert state.is_failed()
    counts = rows(trained, "SELECT chat_id, state, count(*) FROM deliveries GROUP BY 1, 2 ORDER BY 2")
    assert [(state, count) for _, state, count in counts] == [("pending", 2), ("sent", 2)]
    assert any("asks to wait 300 s" in failure.error for failure in report.failures)


def test_prediction_is_recorded_when_composing_its_alert_fails(
    trained: Engine, telegram: BotApi, monkeypatch: pytest.MonkeyPatch
) -> None:
    request = signal_request()
    monkeypatch.setattr("hybrid_ml.alerts.compose.alert_message", lambda **_: 1 / 0)
    monkeypatch.setattr("flows.analysis.compose_alert.retries", 0)
    state, report = run(analysis, AnalysisRequest(**request))
    assert state.is_failed()
    assert "division by zero" in report.failures[0].error
    assert rows(trained, "SELECT signal FROM predictions WHERE signal") == [(True,)]


def test_pending_alert_of_a_killed_run_is_sent_by_the_next_run(
    trained: Engine, telegram: BotApi, monkeypatch: pytest.MonkeyPatch
) -> None:
    request = signal_request()
    with monkeypatch.context() as patch:
        patch.setattr("tasks.alert.deliver_now", lambda *_: None)
        state, _ = run(analysis, AnalysisRequest(**request))
    assert state.is_failed()
    assert "pending" in state.message
    assert analyze(**request).alert == "sent"
    assert len(telegram.messages) == 1


def test_slow_clock_of_the_machine_sends_no_expired_alert(trained: Engine, telegram: BotApi) -> None:
    """The database's clock decides whether an alert is still valid, not the machine's."""
    with trained.begin() as connection:
        connection.execute(
            text(
                "UPDATE bars SET time = time + "
                "(SELECT date_trunc('minute', now()) - interval '1 hour' - max(time) FROM bars)"
            )
        )
    requested = {"fast_mode": True, **SURE, "disable_sleep_window": True}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("flows.analysis.datetime", _SlowClock)
        reports = [run(analysis, AnalysisRequest(**requested))[1]]
    [answer] = reports[0].analyses
    assert "freshness" not in answer.refused_by
    states = {state for _, _, state in rows(trained, STATES)}
    assert states == ({"expired"} if answer.signal else set())
    assert telegram.messages == []


class _SlowClock(datetime):
    @classmethod
    def now(cls, tz: Any = None) -> datetime:
        return datetime.now(UTC).astimezone(tz) - timedelta(minutes=59)


def test_symbol_with_special_characters_is_sent_unchanged_and_blanks_around_a_timezone_are_ignored(
    trained: Engine, telegram: BotApi, bars: Any
) -> None:
    symbol = "<b>_*A&B*_</b>🚀"
    store_bars(trained, symbol, bars)
    timezone = {"sleep_timezone": " Europe/Berlin "}
    answer = analyze(**signal_request(symbols=[symbol], disable_sleep_window=True, **timezone))
    assert answer.alert == "sent"
    [message] = telegram.messages
    caption = html.unescape(message["caption"])
    assert symbol in caption
    assert "Berlin" in caption
