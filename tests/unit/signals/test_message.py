"""Texts of alerts and outcomes: complete, short, and valid for Telegram with any symbol."""

import math
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from hybrid_ml.alerts.html import CAPTION_LIMIT, TEXT_LIMIT, escaped, fit, length, visible
from hybrid_ml.alerts.message import age, alert_message, outcome_message
from hybrid_ml.alerts.record import record_lines
from hybrid_ml.schemas.signal_record import PastSignal, SymbolRecord
from hybrid_ml.signals.gates import Answer, GateContext, evaluate_gates, max_signals_verdict
from hybrid_ml.signals.penalty import NO_PENALTY, Penalty, RecentSignals, confidence_penalty
from hybrid_ml.signals.presets import PRESETS
from hybrid_ml.signals.reasons import Reason
from tests.unit.signals.test_markup import EXTERNAL, read

UP = Answer(0.125, 0.125, 0.75)
NOW = datetime(2018, 6, 1, 23, 55, 5, tzinfo=UTC)


def record(count: int, right: int, **changes: Any) -> SymbolRecord:
    """`count` signals UP, one in seven hours, the last `right` of them right, each 4 bps from its entry."""
    past = []
    for number in range(count):
        bar_time = NOW.replace(second=0) - timedelta(hours=7 * (count - number))
        fields = {"direction": "up", "confidence": 0.7, "outcome": "up" if count - number <= right else "flat"}
        fields |= {"forward_return": 5e-4, "void_reason": None, "tradable": True}
        fields |= {"entry_time": bar_time + timedelta(minutes=1), "entry_return": 4e-4}
        past.append(PastSignal("BTCUSD", bar_time, **{**fields, **changes}))
    return SymbolRecord("BTCUSD", past, waiting=0, void=0, answers=800, downs=288, ups=272, days=7)


RECORD = record(20, 12)
RECORD_LINES = """\
12 of the last 20 signals right: 60 %
(90 % interval 29 to 90 %)
always saying down: 36 % right
2.9 signals a day
from the next open, after 10 bps fee:
mean -6.0, median -6.0 bps
a guess -14.0 bps, t over days -5.6"""
EXPECTED = f"""\
<b>▲ BTCUSD UP, 75 % sure</b>
price 7,512.35, the next 10 minutes:
up above 7,515.51 (+4.2 bps)
down below 7,509.20 (-4.2 bps)

up 75.0 %
down 12.5 %
flat 12.5 %

<b>Why it passed</b>
confidence 0.75 ≥ 0.75
  raised by 0.15: 9 of the last 30 confident
  answers right, 0.65 stated, up to 0.16 may
  be chance
margin 0.62 ≥ 0.20
entropy 0.74 ≤ 0.85

{RECORD_LINES}

weekly model, 1 day 2 h old
fine-tuned on bars until 11 min ago
<code>BTCUSD@20180601T000000Z-base-0123abcd</code>

2018-06-02 05:25 Kolkata
2018-06-01 23:55 UTC
<b>valid until 05:35 Kolkata, 00:05 UTC</b>"""


def message(answer: Answer = UP, *, penalty: Penalty = NO_PENALTY, **changes: Any) -> str:
    context = GateContext(PRESETS["balanced"], penalty, 1.0, 15.0)
    fields = {
        "symbol": "BTCUSD",
        "simulated": False,
        "close": 7_512.35,
        "bar_time": datetime(2018, 6, 1, 23, 54, tzinfo=UTC),
        "threshold": 4.2e-4,
        "verdicts": [*evaluate_gates(answer, context), max_signals_verdict(1, 5)],
        "recent": RECORD,
        "model_version": "BTCUSD@20180601T000000Z-base-0123abcd",
        "base_kind": "base",
        "base_trained_until": datetime(2018, 5, 31, 21, 40, tzinfo=UTC),
        "fine_tuned_until": datetime(2018, 6, 1, 23, 44, tzinfo=UTC),
        "now": NOW,
        "zone": "Asia/Kolkata",
    }
    return alert_message(answer=answer, **(fields | changes))  # type: ignore[arg-type]


def outcome(direction: str = "up", outcome_class: str | None = "up", moved_bps: float = 10.3, **changes: Any) -> str:
    fields = {
        "symbol": "BTCUSD",
        "simulated": False,
        "close": 7_512.35,
        "close_then": 7_512.35 * math.exp(moved_bps / 1e4),
        "forward_return": moved_bps / 1e4,
        "void_reason": None,
        "recent": RECORD,
    }
    return outcome_message(direction=direction, outcome=outcome_class, **(fields | changes))  # type: ignore[arg-type]


def test_alert_is_complete_with_lines_of_at_most_45_characters() -> None:
    text = message(penalty=confidence_penalty(RecentSignals(30, 0.3, 0.65)))
    assert text == EXPECTED
    assert max(len(line) for line in visible(text).splitlines()) <= 45
    assert length(text) <= CAPTION_LIMIT


REASONS = [
    Reason(
        "leaders' moves",
        0.4,
        "leader1_gap_5",
        "BTCUSD rose 0.90 % in 5 minutes, EOSUSD has not followed (did not move)",
    ),
    Reason("volume", -0.1, "traded_share_30", "3 of the last 30 minutes had trades"),
]


def test_what_moved_the_answer_comes_before_the_gates() -> None:
    lines = visible(message(reasons=REASONS)).splitlines()
    first = lines.index("What moved it")
    assert lines[first : first + 7] == [
        "What moved it",
        "for UP: BTCUSD rose 0.90 % in 5 minutes,",
        "  EOSUSD has not followed (did not move)",
        "against UP: 3 of the last 30 minutes had",
        "  trades",
        "",
        "Why it passed",
    ]
    assert max(len(line) for line in lines) <= 45
    assert "What moved it" not in message(reasons=[])


def test_longest_alert_with_reasons_fits_into_a_caption() -> None:
    words = "of the volume of the last 15 minutes, 30 % came in rising minutes and 70 % in falling ones"
    reasons = [Reason("volume", 0.4, "signed_volume_15", words)] * 3
    text = message(penalty=confidence_penalty(RecentSignals(30, 0.3, 0.65)), reasons=reasons)
    assert length(text) <= CAPTION_LIMIT
    assert 1 <= visible(text).count("of the volume of the last 15") < 3, "the weakest is left out"
    assert "Why it passed" in text


def test_alert_on_simulated_bars_is_marked_in_its_first_line() -> None:
    assert message(symbol="DEMO", simulated=True).splitlines()[0] == "<b>▲ DEMO UP, 75 % sure (SIMULATED DATA)</b>"
    assert "SIMULATED" not in message()


@pytest.mark.parametrize(
    ("answer", "first"),
    [
        (Answer(0.8, 0.1, 0.1), "<b>▼ BTCUSD DOWN, 80 % sure</b>"),
        (Answer(0.1, 0.8, 0.1), "<b>■ BTCUSD FLAT, 80 % sure</b>"),
        (Answer(0.001, 0.001, 0.998), "<b>▲ BTCUSD UP, 99 % sure</b>"),  # 99 % is the maximum
    ],
)
def test_direction_has_a_symbol_and_a_word(answer: Answer, first: str) -> None:
    assert message(answer).splitlines()[0] == first


@pytest.mark.parametrize(
    ("close", "threshold", "expected"),
    [
        (0.00001234, 4.2e-4, ["0.0000123400", "0.0000123452", "0.0000123348"]),
        (1.08512, 4e-5, ["1.085120", "1.085163", "1.085077"]),
        (67_123.456, 1e-3, ["67,123.456", "67,190.613", "67,056.366"]),
        (100.0, 5e-2, ["100.0", "105.1", "95.1"]),
        (100.0, 0.0, ["100", "100", "100"]),
        (2.5e-12, 1e-3, ["2.5e-12", "2.5025013e-12", "2.4975012e-12"]),
    ],
)
def test_prices_have_enough_digits_to_differ_from_their_band(
    close: float, threshold: float, expected: list[str]
) -> None:
    price, above, below = message(close=close, threshold=threshold).splitlines()[1:4]
    assert price == f"price {expected[0]}, the next 10 minutes:"
    assert above.startswith(f"up above {expected[1]} (")
    assert below.startswith(f"down below {expected[2]} (")


def test_missing_signals_are_stated() -> None:
    text = message(recent=record(0, 0))
    assert "no resolved signal yet" in text
    assert record_lines(record(1, 1))[0] == "one resolved signal so far: right"


def test_record_names_stale_prices_and_what_could_not_be_followed() -> None:
    late = record(2, 1, entry_time=NOW)
    assert record_lines(late)[-1] == "stale price 100 %"
    none = {"entry_time": None, "entry_return": None}
    missed, unknown = record(3, 1, **none, tradable=False), record(2, 1, **none, tradable=None)
    assert record_lines(missed)[-1] == "3 not tradable"
    assert record_lines(unknown)[-1] == "2 not known"
    assert "(one day: no interval)" in record_lines(unknown)
    mixed = SymbolRecord("X", [*RECORD.past, *missed.past, *unknown.past], 0, 0, 800, 288, 272, 7)
    assert record_lines(mixed)[-1] == "stale price 13 %, 3 not tradable, 2 not known"
    assert max(len(line) for line in record_lines(mixed)) <= 45


def test_base_without_adapter_is_named_with_kind_and_age() -> None:
    text = message(base_kind="scratch", fine_tuned_until=None)
    assert "model from scratch, 1 day 2 h old" in text
    assert "fine-tuned" not in text


def test_clock_change_within_the_ten_minutes_is_shown() -> None:
    text = message(zone="Europe/Berlin", bar_time=datetime(2026, 10, 25, 0, 49, tzinfo=UTC)).splitlines()[-3:]
    assert text == [
        "2026-10-25 02:50 CEST Berlin",
        "2026-10-25 00:50 UTC",
        "<b>valid until 02:00 CET Berlin, 01:00 UTC</b>",
    ]
    spring = message(zone="Europe/Berlin", bar_time=datetime(2026, 3, 29, 0, 54, tzinfo=UTC)).splitlines()[-3:]
    assert (spring[0], spring[2]) == ("2026-03-29 01:55 CET Berlin", "<b>valid until 03:05 CEST Berlin, 01:05 UTC</b>")


def test_utc_time_is_shown_once() -> None:
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
def test_age_of_a_model_is_formatted_in_days_and_hours(span: timedelta, text: str) -> None:
    assert age(span) == text


def test_outcome_has_verdict_and_return_in_the_predicted_direction() -> None:
    record = RECORD_LINES.splitlines()
    right = ["<b>✓ Right: BTCUSD UP</b>", "7,512.35 → 7,520.09 in 10 minutes", "+10.3 bps along the call"]
    assert outcome().splitlines() == right + record
    wrong = ["<b>✗ Wrong: BTCUSD DOWN</b>", "It was UP.", right[1], "-10.3 bps along the call"]
    assert outcome("down").splitlines() == wrong + record
    assert outcome("down", "down", -3.0).splitlines()[2] == "+3.0 bps along the call"
    assert outcome("down", "flat", 0.0).splitlines()[3] == "+0.0 bps along the call"


def test_outcome_has_the_return_that_a_person_could_have_had() -> None:
    assert outcome(entry_return=9.1e-4, tradable=True).splitlines()[3] == "+9.1 bps from the next traded open"
    assert outcome("down", entry_return=9.1e-4, tradable=True).splitlines()[4] == "-9.1 bps from the next traded open"
    assert outcome(tradable=False).splitlines()[3] == "No minute was traded in time: not tradable."
    assert "traded" not in outcome()  # recorded before there were entries


def test_outcome_on_a_corrected_bar_names_the_counted_price() -> None:
    assert "The bar was corrected since the call;\nthe corrected price counts." in outcome(corrected=True)
    assert "corrected" not in outcome()


def test_void_signal_has_its_reason() -> None:
    text = outcome(
        outcome_class=None, close_then=None, forward_return=None, void_reason="a break of 51 minutes & <more>"
    )
    assert read(text).splitlines() == [
        "○ No outcome: BTCUSD UP",
        "a break of 51 minutes & <more>",
        "It counts neither as right nor as wrong.",
    ]


PROBABILITIES = st.lists(st.floats(0.001, 1.0), min_size=3, max_size=3).map(
    lambda parts: [p / sum(parts) for p in parts]
)


@given(
    symbol=EXTERNAL,
    close=st.floats(1e-300, 1e300),
    threshold=st.floats(0.0, 1.0),
    probabilities=PROBABILITIES,
    count=st.integers(0, 30),
    share=st.floats(0, 1),
    zone=st.sampled_from(["UTC", "Asia/Kolkata", "America/Argentina/ComodRivadavia", "Etc/GMT+5"]),
)
@example("<b>&\"'*_`[", 1.0, 0.0, [0.2, 0.2, 0.6], 3, 0.5, "UTC")
@example("🚀", 1e300, 1.0, [0.2, 0.2, 0.6], 3, 0.5, "UTC")
@example("\u202e\n<" * 21, 1e-300, 1.0, [0.2, 0.2, 0.6], 3, 0.5, "UTC")
def test_messages_are_valid_for_any_symbol_and_numbers(
    symbol: str, close: float, threshold: float, probabilities: list[float], count: int, share: float, zone: str
) -> None:
    recent = record(count, round(share * count))
    penalty = confidence_penalty(RecentSignals(count, round(share * count) / max(count, 1), share))
    alert = message(
        Answer(*probabilities), penalty=penalty, symbol=symbol, close=close, threshold=threshold,
        recent=recent, model_version=f"{symbol}@base", zone=zone,
    )  # fmt: skip
    resolved = outcome(
        symbol=symbol, close=close, close_then=close * math.exp(-threshold), forward_return=-threshold, recent=recent
    )
    void = outcome(outcome_class=None, symbol=symbol, void_reason=symbol)
    name = visible(escaped(symbol))
    for text in (alert, resolved, void):
        assert name in read(text).splitlines()[0]
        for limit in (CAPTION_LIMIT, TEXT_LIMIT):
            cut = fit(text, limit)
            assert length(cut) <= limit
            assert name in read(cut)
