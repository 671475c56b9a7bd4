"""What the bot says: true, short, and taken by Telegram whatever the symbols are called."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hybrid_ml.alerts.html import escaped
from hybrid_ml.bot import replies
from hybrid_ml.learning.intervals import wilson
from hybrid_ml.schemas.bot_status import LastAnswer, PastSignal, Pause, Status, SymbolRecord, SymbolStatus
from tests.telegram_rules import problem_with_text, visible

NOW = datetime(2024, 5, 1, 12, 0, tzinfo=UTC)
HOSTILE = ["<b>", "</code>", "A&B", "&lt;", "'\"*_`[]()", "😀", "👩\u200d👩\u200d👧", "<a href='x'>", "𝕏" * 64]
HOSTILE += ["\u202eDSU", "A\nB", "\u2028"]


def last(**changes: Any) -> LastAnswer:
    made = {"bar_time": NOW - timedelta(minutes=2), "direction": "up", "confidence": 0.62, "signal": False}
    return LastAnswer(**{**made, "degraded": False, "refused_by": ["confidence", "recent_accuracy"], **changes})


def symbol(name: str = "BTCUSD", **changes: Any) -> SymbolStatus:
    made = {"newest_bar": NOW - timedelta(minutes=2), "model_version": f"{name}@20240428T000000Z-base-1a2b3c4d"}
    made |= {"model_trained_until": NOW - timedelta(days=3), "last": last()}
    return SymbolStatus(name, **{**made, **changes})


def record(name: str = "BTCUSD", **changes: Any) -> SymbolRecord:
    made = {"signals": 20, "right": 13, "waiting": 1, "void": 2, "mean_return_bps": 3.21}
    return SymbolRecord(name, **{**made, "answers": 100, "downs": 31, "ups": 35, **changes})


def signal(name: str = "BTCUSD", **changes: Any) -> PastSignal:
    made = {"bar_time": NOW - timedelta(minutes=20), "direction": "up", "confidence": 0.71, "outcome": "up"}
    return PastSignal(name, **{**made, "forward_return": 0.00123, "void_reason": None, **changes})


def test_status_says_what_there_is_how_old_and_why_nothing_was_sent() -> None:
    counts = {"pending": 2, "sending": 1, "sent": 14, "expired": 3}
    lines = visible(replies.status(Status([symbol()], counts, None), NOW), "HTML").splitlines()
    assert lines == [
        "Status 2024-05-01 12:00 UTC",
        "",
        "BTCUSD",
        "newest bar 11:58, closed 1 min ago",
        "model 20240428T000000Z-base-1a2b3c4d, trained until 3 days ago",
        "last answer 11:58 ▲ UP 62%: no signal (confidence, recent accuracy)",
        "",
        "Alerts: 3 waiting; last 24 hours: 14 sent, 3 expired",
        "This chat gets alerts",
    ]


def test_status_warns_of_what_is_old_or_missing() -> None:
    old = symbol("OLD", newest_bar=NOW - timedelta(hours=5), last=last(signal=True, bar_time=NOW - timedelta(days=2)))
    bare = symbol("NEW", newest_bar=None, model_version=None, model_trained_until=None, last=None)
    sick = symbol("SICK", last=last(degraded=True, refused_by=["recent_accuracy"]))
    text = replies.status(Status([old, bare, sick], {}, Pause(NOW + timedelta(hours=1)), 2), NOW)
    for part in (
        "⚠ newest bar 07:00, closed 5 hours ago",
        "last answer 2024-04-29 12:00 ▲ UP 62%: signal",
        "⚠ no bars",
        "⚠ no model yet",
        "no answer yet",
        "(recent accuracy; the model is under the bar)",
        "last 24 hours: 0 sent",
        "⏸ This chat is paused until 18:30 Kolkata, 13:00 UTC",
        "2 other chats paused",
    ):
        assert part in text
    assert "backfill" in replies.status(Status([], {}, None), NOW)


def test_the_edge_of_a_stale_bar_is_that_of_an_analysis() -> None:
    def marked(minutes: float) -> bool:
        facts = symbol(newest_bar=NOW - timedelta(minutes=minutes + 1))
        return "⚠" in replies.status(Status([facts], {}, None), NOW)

    assert not marked(replies.STALE_MINUTES)
    assert marked(replies.STALE_MINUTES + 0.1)


def test_signals_say_what_came_of_them() -> None:
    lines = visible(
        replies.signals(
            [
                signal(),
                signal(direction="down", outcome="flat", forward_return=-0.0001),
                signal(outcome=None, forward_return=None, bar_time=NOW - timedelta(minutes=2)),
                signal(outcome=None, forward_return=None, void_reason="the session ended"),
            ],
            NOW,
        ),
        "HTML",
    ).splitlines()
    assert lines == [
        "Last 4 signals (UTC)",
        "11:40 ▲ BTCUSD UP 71% ✓ up +12.3 bps",
        "11:40 ▼ BTCUSD DOWN 71% ✗ flat -1.0 bps",
        "11:58 ▲ BTCUSD UP 71% … waiting",
        "11:40 ▲ BTCUSD UP 71% – no outcome: the session ended",
    ]
    assert "No signals yet" in replies.signals([], NOW)


def test_a_record_stands_beside_the_blind_guess_with_its_interval() -> None:
    low, high = wilson(13, 20)
    text = visible(replies.record([record(), record("B", signals=0, right=0, mean_return_bps=None)], 30), "HTML")
    assert f"right 13 of 20: 65% (90 %: {low:.0%} to {high:.0%})" in text
    assert "always saying up: 35% of 100 answers" in text
    assert "mean return +3.2 bps before fees" in text
    assert "1 waiting, 2 void" in text
    assert "no signal with an outcome yet" in text
    assert replies.record([], 30) == "No answers in the last 30 days."


def test_pauses_in_words() -> None:
    text = replies.paused(Pause(NOW + timedelta(minutes=90)), NOW)
    assert "paused until 19:00 Kolkata, 13:30 UTC" in text
    assert "/resume ends it" in text
    tomorrow = replies.paused(Pause(NOW + timedelta(hours=24)), NOW)
    assert "paused until 2024-05-02 17:30 Kolkata, 2024-05-02 12:00 UTC" in tomorrow
    assert "was over" in replies.paused(None, NOW)


@pytest.mark.parametrize("name", HOSTILE)
def test_no_name_breaks_an_answer(name: str) -> None:
    texts = [
        replies.status(Status([symbol(name, last=last(refused_by=[name]))], {}, None), NOW),
        replies.signals([signal(name, outcome=None, void_reason=name)], NOW),
        replies.record([record(name)], 30),
        replies.misunderstood(name),
    ]
    for text in texts:
        assert problem_with_text(text, "HTML", caption=False) is None
        for forbidden in ("\u202e", "\u2028"):
            assert forbidden not in text
    shown = visible(escaped(name), "HTML")
    if name.replace("\u200d", "").isprintable():
        assert shown == name
    assert len(shown.splitlines()) == 1


@given(st.lists(st.text(min_size=1, max_size=80), max_size=60), st.integers(1, 400))
def test_no_answer_is_refused_or_cut_in_the_middle(names: list[str], repeated: int) -> None:
    names = (names * repeated)[:500]
    texts = [
        replies.status(Status([symbol(name) for name in names], {}, None), NOW),
        replies.signals([signal(name) for name in names], NOW),
        replies.record([record(name) for name in names], 30),
    ]
    for text in texts:
        assert problem_with_text(text, "HTML", caption=False) is None
    if len(names) == 500:
        assert "more" in texts[0]
        assert "This chat gets alerts" in texts[0]


def test_help_names_every_command() -> None:
    assert problem_with_text(replies.HELP, "HTML", caption=False) is None
    for name in ("status", "signals", "record", "pause", "resume", "help"):
        assert f"/{name}" in replies.HELP
