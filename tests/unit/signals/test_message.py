"""The words of an alert and of its outcome: complete, short, and taken by Telegram whatever the symbol."""

import math
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from hybrid_ml.alerts.html import CAPTION_LIMIT, TEXT_LIMIT, escaped, fit, length, visible
from hybrid_ml.alerts.message import age, alert_message, outcome_message, record_lines
from hybrid_ml.learning.evaluation import RecentRecord
from hybrid_ml.signals.gates import Answer, GateContext, evaluate_gates, max_signals_verdict
from hybrid_ml.signals.penalty import NO_PENALTY, Penalty, RecentSignals, confidence_penalty
from hybrid_ml.signals.presets import PRESETS
from tests.unit.signals.test_markup import FOREIGN, read

UP = Answer(0.125, 0.125, 0.75)
RECORD = RecentSignals(20, 0.6, 0.7)
NOW = datetime(2018, 6, 1, 23, 55, 5, tzinfo=UTC)
EXPECTED = """\
<b>▲ BTCUSD UP, 75 % sure</b>
price 7,512.35, the next 10 minutes:
up above 7,515.51 (+4.2 bps)
down below 7,509.20 (-4.2 bps)

up 75.0 %
down 12.5 %
flat 12.5 %

<b>Why it passed</b>
confidence 0.75 ≥ 0.75
  raised by 0.15: 9 of the last 30 sure
  answers right, 0.65 stated, up to 0.16 may
  be chance
margin 0.62 ≥ 0.20
entropy 0.74 ≤ 0.85
recent accuracy 0.50 ≥ 0.45

12 of the last 20 signals right: 60 %
(90 % interval 42 to 76 %)

weekly model, 1 day 2 h old
fine-tuned on bars until 11 min ago
<code>BTCUSD@20180601T000000Z-base-0123abcd</code>

2018-06-02 05:25 Kolkata
2018-06-01 23:55 UTC
<b>valid until 05:35 Kolkata, 00:05 UTC</b>"""


def message(answer: Answer = UP, *, penalty: Penalty = NO_PENALTY, accuracy: float | None = 0.5, **changes: Any) -> str:
    around = GateContext(PRESETS["balanced"], penalty, RecentRecord(200, accuracy, 0.4), 1.0, 15.0)
    facts = {
        "symbol": "BTCUSD",
        "simulated": False,
        "close": 7_512.35,
        "bar_time": datetime(2018, 6, 1, 23, 54, tzinfo=UTC),
        "threshold": 4.2e-4,
        "verdicts": [*evaluate_gates(answer, around), max_signals_verdict(1, 5)],
        "recent": RECORD,
        "model_version": "BTCUSD@20180601T000000Z-base-0123abcd",
        "base_kind": "base",
        "base_trained_until": datetime(2018, 5, 31, 21, 40, tzinfo=UTC),
        "fine_tuned_until": datetime(2018, 6, 1, 23, 44, tzinfo=UTC),
        "now": NOW,
        "zone": "Asia/Kolkata",
    }
    return alert_message(answer=answer, **(facts | changes))  # type: ignore[arg-type]


def outcome(direction: str = "up", came: str | None = "up", moved_bps: float = 10.3, **changes: Any) -> str:
    facts = {
        "symbol": "BTCUSD",
        "simulated": False,
        "close": 7_512.35,
        "close_then": 7_512.35 * math.exp(moved_bps / 1e4),
        "forward_return": moved_bps / 1e4,
        "void_reason": None,
        "recent": RECORD,
    }
    return outcome_message(direction=direction, outcome=came, **(facts | changes))  # type: ignore[arg-type]


def test_an_alert_says_everything_in_lines_short_enough_for_a_phone() -> None:
    text = message(penalty=confidence_penalty(RecentSignals(30, 0.3, 0.65)))
    assert text == EXPECTED
    assert max(len(line) for line in visible(text).splitlines()) <= 45
    assert length(text) <= CAPTION_LIMIT


def test_an_alert_on_simulated_bars_says_so_in_its_first_line() -> None:
    assert message(symbol="DEMO", simulated=True).splitlines()[0] == "<b>▲ DEMO UP, 75 % sure (SIMULATED DATA)</b>"
    assert "SIMULATED" not in message()


@pytest.mark.parametrize(
    ("answer", "first"),
    [
        (Answer(0.8, 0.1, 0.1), "<b>▼ BTCUSD DOWN, 80 % sure</b>"),
        (Answer(0.1, 0.8, 0.1), "<b>■ BTCUSD FLAT, 80 % sure</b>"),
        (Answer(0.001, 0.001, 0.998), "<b>▲ BTCUSD UP, 99 % sure</b>"),  # nothing is certain
    ],
)
def test_the_direction_is_told_by_sign_and_word(answer: Answer, first: str) -> None:
    assert message(answer).splitlines()[0] == first


@pytest.mark.parametrize(
    ("close", "threshold", "written"),
    [
        (0.00001234, 4.2e-4, ["0.0000123400", "0.0000123452", "0.0000123348"]),
        (1.08512, 4e-5, ["1.085120", "1.085163", "1.085077"]),
        (67_123.456, 1e-3, ["67,123.456", "67,190.613", "67,056.366"]),
        (100.0, 5e-2, ["100.0", "105.1", "95.1"]),
        (100.0, 0.0, ["100", "100", "100"]),
        (2.5e-12, 1e-3, ["2.5e-12", "2.5025013e-12", "2.4975012e-12"]),
    ],
)
def test_prices_of_any_size_are_told_from_their_band(close: float, threshold: float, written: list[str]) -> None:
    price, above, below = message(close=close, threshold=threshold).splitlines()[1:4]
    assert price == f"price {written[0]}, the next 10 minutes:"
    assert above.startswith(f"up above {written[1]} (")
    assert below.startswith(f"down below {written[2]} (")


def test_a_model_that_cannot_be_judged_yet_and_a_symbol_without_record_are_told() -> None:
    text = message(accuracy=None, recent=RecentSignals(0, 0.0, 0.0))
    assert "recent accuracy not known yet" in text
    assert "no resolved signal yet" in text
    assert record_lines(RecentSignals(1, 1.0, 0.7)) == ["one resolved signal so far: right"]


def test_the_base_that_answers_alone_is_told_with_its_kind_and_age() -> None:
    text = message(base_kind="scratch", fine_tuned_until=None)
    assert "model from scratch, 1 day 2 h old" in text
    assert "fine-tuned" not in text


def test_a_change_of_the_clock_within_the_ten_minutes_is_told() -> None:
    text = message(zone="Europe/Berlin", bar_time=datetime(2026, 10, 25, 0, 49, tzinfo=UTC)).splitlines()[-3:]
    assert text == [
        "2026-10-25 02:50 CEST Berlin",
        "2026-10-25 00:50 UTC",
        "<b>valid until 02:00 CET Berlin, 01:00 UTC</b>",
    ]
    spring = message(zone="Europe/Berlin", bar_time=datetime(2026, 3, 29, 0, 54, tzinfo=UTC)).splitlines()[-3:]
    assert (spring[0], spring[2]) == ("2026-03-29 01:55 CET Berlin", "<b>valid until 03:05 CEST Berlin, 01:05 UTC</b>")


def test_in_utc_the_time_is_told_once() -> None:
    assert message(zone="UTC").splitlines()[-2:] == ["2018-06-01 23:55 UTC", "<b>valid until 00:05 UTC</b>"]


@pytest.mark.parametrize(
    ("span", "text"),
    [
        (timedelta(hours=-1), "0 min"),
        (timedelta(minutes=59, seconds=59), "59 min"),
        (timedelta(hours=23, minutes=59), "23 h"),
        (timedelta(days=1, hours=4), "1 day 4 h"),
        (timedelta(days=12), "12 days 0 h"),
    ],
)
def test_a_models_age_is_told_in_days_and_hours(span: timedelta, text: str) -> None:
    assert age(span) == text


def test_an_outcome_says_right_or_wrong_and_the_return_along_the_call() -> None:
    record = ["12 of the last 20 signals right: 60 %", "(90 % interval 42 to 76 %)"]
    right = ["<b>✓ Right: BTCUSD UP</b>", "7,512.35 → 7,520.09 in 10 minutes", "+10.3 bps along the call"]
    assert outcome().splitlines() == right + record
    wrong = ["<b>✗ Wrong: BTCUSD DOWN</b>", "It was UP.", right[1], "-10.3 bps along the call"]
    assert outcome("down").splitlines() == wrong + record
    assert outcome("down", "down", -3.0).splitlines()[2] == "+3.0 bps along the call"
    assert outcome("down", "flat", 0.0).splitlines()[3] == "+0.0 bps along the call"


def test_an_outcome_on_a_corrected_bar_says_which_price_counted() -> None:
    assert "The bar was corrected since the call;\nthe corrected price counts." in outcome(corrected=True)
    assert "corrected" not in outcome()


def test_a_call_without_outcome_says_why() -> None:
    text = outcome(came=None, close_then=None, forward_return=None, void_reason="a break of 51 minutes & <more>")
    assert read(text).splitlines() == [
        "○ No outcome: BTCUSD UP",
        "a break of 51 minutes & <more>",
        "It counts neither as right nor as wrong.",
    ]


CHANCES = st.lists(st.floats(0.001, 1.0), min_size=3, max_size=3).map(lambda parts: [p / sum(parts) for p in parts])


@given(
    symbol=FOREIGN,
    close=st.floats(1e-300, 1e300),
    threshold=st.floats(0.0, 1.0),
    chances=CHANCES,
    count=st.integers(0, 30),
    share=st.floats(0, 1),
    zone=st.sampled_from(["UTC", "Asia/Kolkata", "America/Argentina/ComodRivadavia", "Etc/GMT+5"]),
)
@example("<b>&\"'*_`[", 1.0, 0.0, [0.2, 0.2, 0.6], 3, 0.5, "UTC")
@example("🚀", 1e300, 1.0, [0.2, 0.2, 0.6], 3, 0.5, "UTC")
@example("\u202e\n<" * 21, 1e-300, 1.0, [0.2, 0.2, 0.6], 3, 0.5, "UTC")
def test_any_symbol_and_any_numbers_make_a_message_that_telegram_takes(
    symbol: str, close: float, threshold: float, chances: list[float], count: int, share: float, zone: str
) -> None:
    recent = RecentSignals(count, round(share * count) / max(count, 1), share)
    lines = message(
        Answer(*chances), penalty=confidence_penalty(recent), symbol=symbol, close=close, threshold=threshold,
        recent=recent, model_version=f"{symbol}@base", zone=zone,
    )  # fmt: skip
    after = outcome(
        symbol=symbol, close=close, close_then=close * math.exp(-threshold), forward_return=-threshold, recent=recent
    )
    void = outcome(came=None, symbol=symbol, void_reason=symbol)
    name = visible(escaped(symbol))
    for text in (lines, after, void):
        assert name in read(text).splitlines()[0]
        for limit in (CAPTION_LIMIT, TEXT_LIMIT):
            cut = fit(text, limit)
            assert length(cut) <= limit
            assert name in read(cut)
