"""Replies of the bot: content, length, and valid markup for all names of symbols."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hybrid_ml.alerts.html import escaped
from hybrid_ml.bot import replies
from hybrid_ml.evaluation.symbol_record import measure_record
from hybrid_ml.schemas.bot_status import BotStatus, LastAnswer, Pause, SymbolStatus
from hybrid_ml.schemas.signal_record import FEE_BPS, PastSignal, SymbolRecord
from tests.telegram_rules import problem_with_text, visible

NOW = datetime(2024, 5, 1, 12, 0, tzinfo=UTC)
SPECIAL_NAMES = ["<b>", "</code>", "A&B", "&lt;", "'\"*_`[]()", "😀", "👩\u200d👩\u200d👧", "<a href='x'>", "𝕏" * 64]
SPECIAL_NAMES += ["\u202eDSU", "A\nB", "\u2028"]


def last(**changes: Any) -> LastAnswer:
    fields = {"bar_time": NOW - timedelta(minutes=2), "direction": "up", "confidence": 0.62, "signal": False}
    return LastAnswer(**{**fields, "refused_by": ["confidence", "max_signals"], **changes})


def symbol(name: str = "BTCUSD", **changes: Any) -> SymbolStatus:
    fields = {"newest_bar": NOW - timedelta(minutes=2), "model_version": f"{name}@20240428T000000Z-base-1a2b3c4d"}
    fields |= {"model_trained_until": NOW - timedelta(days=3), "last": last()}
    return SymbolStatus(name, **{**fields, **changes})


def record(name: str = "BTCUSD", **changes: Any) -> SymbolRecord:
    past = [
        signal(name, bar_time=NOW - timedelta(hours=7 * hour), outcome="up" if hour % 3 else "down")
        for hour in range(20)
    ]
    fields = {"past": past, "waiting": 1, "void": 2, "answers": 100, "downs": 31, "ups": 35, "days": 7}
    return SymbolRecord(name, **{**fields, **changes})


def signal(name: str = "BTCUSD", **changes: Any) -> PastSignal:
    fields = {"bar_time": NOW - timedelta(minutes=20), "direction": "up", "confidence": 0.71, "outcome": "up"}
    fields |= {"forward_return": 0.00123, "void_reason": None}
    bar_time = changes.get("bar_time", fields["bar_time"])
    fields |= {"entry_time": bar_time + timedelta(minutes=1), "entry_return": 0.00105, "tradable": True}
    return PastSignal(name, **{**fields, **changes})


def test_status_reply_lists_bar_model_answer_and_deliveries() -> None:
    counts = {"pending": 2, "sending": 1, "sent": 14, "expired": 3}
    lines = visible(replies.status(BotStatus([symbol()], counts, None), NOW), "HTML").splitlines()
    assert lines == [
        "Status 2024-05-01 12:00 UTC",
        "",
        "BTCUSD",
        "newest bar 11:58, closed 1 min ago",
        "model 20240428T000000Z-base-1a2b3c4d, trained until 3 days ago",
        "last answer 11:58 ▲ UP 62%: no signal (confidence, max signals)",
        "",
        "Alerts: 3 waiting; last 24 hours: 14 sent, 3 expired",
        "This chat gets alerts",
    ]


def test_closed_market_is_not_marked_as_old_and_an_ended_calendar_is() -> None:
    hours, days = timedelta(hours=17), timedelta(days=4)
    shut = symbol("SHUT", newest_bar=NOW - hours, closed_until=NOW + timedelta(hours=20))
    opened = symbol("OPENED", newest_bar=NOW - hours, open_minutes=5.0)
    late = symbol("LATE", newest_bar=NOW - hours, open_minutes=20.0)
    gone = symbol("GONE", newest_bar=NOW - days, calendar_problem="calendar X is known until 2024-04-27")
    text = visible(replies.status(BotStatus([shut, opened, late, gone], {}, None), NOW), "HTML")
    assert "SHUT\nnewest bar 2024-04-30 19:00, closed 17 hours ago\nmarket closed until 2024-05-02 08:00\n" in text
    assert "OPENED\nnewest bar" in text
    assert "LATE\n⚠ newest bar" in text
    assert "⚠ calendar X is known until 2024-04-27" in text


def test_status_reply_marks_old_and_missing_parts() -> None:
    old = symbol("OLD", newest_bar=NOW - timedelta(hours=5), last=last(signal=True, bar_time=NOW - timedelta(days=2)))
    empty = symbol("NEW", newest_bar=None, model_version=None, model_trained_until=None, last=None)
    poor = symbol("POOR", last=last(refused_by=["max_signals"], recent_rows=200, recent_accuracy=0.3))
    text = replies.status(BotStatus([old, empty, poor], {}, Pause(NOW + timedelta(hours=1)), 2), NOW)
    for part in (
        "⚠ newest bar 07:00, closed 5 hours ago",
        "last answer 2024-04-29 12:00 ▲ UP 62%: signal",
        "⚠ no bars",
        "⚠ no model yet",
        "no answer yet",
        "trained until 3 days ago\nits accuracy was 30% on 200 recent rows\nlast answer",
        "no signal (max signals)",
        "last 24 hours: 0 sent",
        "⏸ This chat is paused until 18:30 Kolkata, 13:00 UTC",
        "2 other chats paused",
    ):
        assert part in text
    assert "backfill" in replies.status(BotStatus([], {}, None), NOW)


def test_bar_of_the_future_is_marked() -> None:
    text = replies.status(BotStatus([symbol(newest_bar=NOW + timedelta(minutes=329))], {}, None), NOW)
    assert "⚠ newest bar 17:29, the newest bar lies 330 minutes in the future" in text


def test_stale_bar_limit_is_that_of_an_analysis() -> None:
    def is_marked(minutes: float) -> bool:
        facts = symbol(newest_bar=NOW - timedelta(minutes=minutes + 1))
        return "⚠" in replies.status(BotStatus([facts], {}, None), NOW)

    assert not is_marked(replies.STALE_MINUTES)
    assert is_marked(replies.STALE_MINUTES + 0.1)


def test_signals_reply_has_outcomes() -> None:
    lines = visible(
        replies.signals(
            [
                signal(),
                signal(direction="down", outcome="flat", forward_return=-0.0001),
                signal(entry_time=None, entry_return=None, tradable=False),
                signal(entry_time=None, entry_return=None, tradable=None),
                signal(outcome=None, forward_return=None, bar_time=NOW - timedelta(minutes=2)),
                signal(outcome=None, forward_return=None, void_reason="the session ended"),
            ],
            NOW,
        ),
        "HTML",
    ).splitlines()
    assert lines == [
        "Last 6 signals (UTC)",
        "11:40 ▲ BTCUSD UP 71% ✓ up +12.3 bps, +10.5 from 11:41",
        "11:40 ▼ BTCUSD DOWN 71% ✗ flat -1.0 bps, +10.5 from 11:41",
        "11:40 ▲ BTCUSD UP 71% ✓ up +12.3 bps, not tradable",
        "11:40 ▲ BTCUSD UP 71% ✓ up +12.3 bps",
        "11:58 ▲ BTCUSD UP 71% … waiting",
        "11:40 ▲ BTCUSD UP 71% – no outcome: the session ended",
    ]
    assert "No signals yet" in replies.signals([], NOW)


def test_record_reply_has_interval_guess_and_the_return_a_person_could_have_had() -> None:
    facts = record()
    low, high = measure_record(facts, FEE_BPS)["precision_interval_of_days"]
    text = visible(replies.record([facts, record("B", past=[])], 30), "HTML")
    assert f"right 13 of 20: 65% (90 %: {low:.0%} to {high:.0%})" in text
    assert "always saying up: 35% of 100 answers" in text
    assert "2.9 signals a day\nclose to close: mean +12.3 bps, median +12.3" in text
    assert "from the next open, after 10 bps fee: mean +0.5 bps, median +0.5, t over days" in text
    assert "; a guess +0.5\nsum +10 bps, drawdown 0 bps\nstale price 0%\n1 waiting, 2 void" in text
    assert "no signal with an outcome yet" in text
    assert replies.record([], 30) == "No answers in the last 30 days."


def test_record_reply_counts_signals_without_entry() -> None:
    without = [signal(entry_time=None, entry_return=None, tradable=tradable) for tradable in (False, None, None)]
    text = visible(replies.record([record(past=without)], 30), "HTML")
    assert "right 3 of 3: 100% (one day: no interval)" in text
    assert "1 not tradable, 2 of unknown entry" in text
    assert "from the next open" not in text
    text = visible(replies.record([record(past=[*without, signal()])], 30), "HTML")
    assert "stale price 50%, 1 not tradable, 2 of unknown entry" in text


def test_pause_reply_has_local_and_utc_time() -> None:
    text = replies.paused(Pause(NOW + timedelta(minutes=90)), NOW)
    assert "paused until 19:00 Kolkata, 13:30 UTC" in text
    assert "/resume ends it" in text
    tomorrow = replies.paused(Pause(NOW + timedelta(hours=24)), NOW)
    assert "paused until 2024-05-02 17:30 Kolkata, 2024-05-02 12:00 UTC" in tomorrow
    assert "was over" in replies.paused(None, NOW)


@pytest.mark.parametrize("name", SPECIAL_NAMES)
def test_special_characters_in_names_keep_replies_valid(name: str) -> None:
    texts = [
        replies.status(BotStatus([symbol(name, last=last(refused_by=[name]))], {}, None), NOW),
        replies.signals([signal(name, outcome=None, void_reason=name)], NOW),
        replies.record([record(name)], 30),
        replies.misunderstood(name),
    ]
    for text in texts:
        assert problem_with_text(text, "HTML", caption=False) is None
        for forbidden in ("\u202e", "\u2028"):
            assert forbidden not in text
    visible_name = visible(escaped(name), "HTML")
    if name.replace("\u200d", "").isprintable():
        assert visible_name == name
    assert len(visible_name.splitlines()) == 1


@settings(max_examples=8)  # every example makes replies for up to 500 symbols
@given(st.lists(st.text(min_size=1, max_size=80), max_size=60), st.integers(1, 400))
def test_long_replies_are_shortened_to_valid_messages(names: list[str], repeated: int) -> None:
    names = (names * repeated)[:500]
    texts = [
        replies.status(BotStatus([symbol(name) for name in names], {}, None), NOW),
        replies.signals([signal(name) for name in names], NOW),
        replies.record([record(name, past=[signal(name)]) for name in names[:50]], 30),
    ]
    for text in texts:
        assert problem_with_text(text, "HTML", caption=False) is None
    if len(names) == 500:
        assert "more" in texts[0]
        assert "This chat gets alerts" in texts[0]


def test_help_reply_names_every_command() -> None:
    assert problem_with_text(replies.HELP, "HTML", caption=False) is None
    for name in ("status", "signals", "record", "pause", "resume", "help"):
        assert f"/{name}" in replies.HELP
