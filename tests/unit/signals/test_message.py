"""The words of an alert."""

from datetime import UTC, datetime

import pytest

from hybrid_ml.learning.evaluation import RecentRecord
from hybrid_ml.signals.gates import Answer, Circumstances, evaluate_gates, max_signals_verdict
from hybrid_ml.signals.message import alert_message
from hybrid_ml.signals.penalty import NO_PENALTY
from hybrid_ml.signals.presets import PRESETS

UP = Answer(0.125, 0.125, 0.75)
EXPECTED = """\
▲ BTCUSD UP
price 7,512.35, next 10 minutes, threshold 4.2 bps
down 12.5%   flat 12.5%   up 75.0%
passed: confidence 0.75, margin 0.62, entropy 0.74
valid 2018-06-01 23:55 to 00:05 UTC
model BTCUSD@20180601T000000Z-base-0123abcd, trained until 2018-05-31 21:40 UTC"""


def message(answer: Answer = UP, *, symbol: str = "BTCUSD", simulated: bool = False, close: float = 7_512.35) -> str:
    around = Circumstances(PRESETS["balanced"], NO_PENALTY, RecentRecord(200, 0.5, 0.4), 1.0, 15.0)
    return alert_message(
        symbol=symbol,
        simulated=simulated,
        close=close,
        bar_time=datetime(2018, 6, 1, 23, 54, tzinfo=UTC),
        answer=answer,
        verdicts=[*evaluate_gates(answer, around), max_signals_verdict(1, 5)],
        model_version="BTCUSD@20180601T000000Z-base-0123abcd",
        trained_until=datetime(2018, 5, 31, 21, 40, tzinfo=UTC),
        threshold=4.2e-4,
    )


def test_an_alert_says_what_how_sure_until_when_and_by_which_model() -> None:
    assert message() == EXPECTED


def test_an_alert_on_simulated_bars_says_so_in_its_first_line() -> None:
    assert message(symbol="DEMO", simulated=True).splitlines()[0] == "▲ DEMO UP (SIMULATED DATA)"
    assert "SIMULATED" not in message()


@pytest.mark.parametrize(
    ("answer", "first"), [(Answer(0.8, 0.1, 0.1), "▼ BTCUSD DOWN"), (Answer(0.1, 0.8, 0.1), "■ BTCUSD FLAT")]
)
def test_the_direction_is_told_by_sign_and_word(answer: Answer, first: str) -> None:
    assert message(answer).startswith(f"{first}\n")


@pytest.mark.parametrize(
    ("close", "written"), [(0.00001234, "1.234e-05"), (1.08512, "1.08512"), (67_123.456, "67,123.456"), (100.0, "100,")]
)
def test_prices_of_any_size_are_written_with_their_digits(close: float, written: str) -> None:
    assert f"price {written}" in message(close=close)
