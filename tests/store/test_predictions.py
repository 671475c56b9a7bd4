"""The ledger: one counted answer per bar, other answers, and outcomes."""

import threading
import time
from datetime import UTC, datetime, timedelta

import pandas as pd
import pytest
from sqlalchemy import Engine, text

from hybrid_ml.market.bars import to_grid
from hybrid_ml.market.labels import CLASSES, forward_returns, label
from hybrid_ml.signals.gates import Answer
from hybrid_ml.signals.reasons import Reason
from hybrid_ml.store import predictions
from hybrid_ml.store.bars import store_bars
from tests.entries import entry_by_hand, prices_of
from tests.outbox import prediction
from tests.simulated import bars_with_holes

AS_OF = datetime(2024, 2, 1, tzinfo=UTC)
LATER = AS_OF + timedelta(hours=2)


def rows(engine: Engine, statement: str) -> list[tuple]:
    with engine.connect() as connection:
        return [tuple(row) for row in connection.execute(text(statement))]


def bars_at(engine: Engine, closes: dict[int, float], symbol: str = "ABC") -> None:
    """Bars whose close at minute m after AS_OF is closes[m]."""
    times = pd.DatetimeIndex([AS_OF + timedelta(minutes=minute) for minute in closes]).as_unit("us")
    values = list(closes.values())
    frame = pd.DataFrame({"time": times, "open": values, "high": values, "low": values, "close": values, "volume": 1.0})
    store_bars(engine, symbol, frame)


def test_first_answer_for_a_bar_counts_and_others_are_kept(engine: Engine) -> None:
    with engine.begin() as connection:
        first = predictions.record(connection, prediction(AS_OF))
        again = predictions.record(connection, prediction(AS_OF))
        other = predictions.record(connection, prediction(AS_OF, answer=Answer(0.7, 0.2, 0.1)))
        predictions.record(connection, prediction(AS_OF, answer=Answer(0.7, 0.2, 0.1)))
    assert (first.new, again.new, other.new) == (True, False, False)
    assert first.id == again.id == other.id
    assert rows(engine, "SELECT p_up FROM predictions") == [(0.7,)]
    assert rows(engine, "SELECT p_up, reason FROM answers_not_counted") == [(0.1, "an earlier answer counts")]


def test_reasons_are_kept_with_the_answer_that_counts_and_with_those_that_do_not(engine: Engine) -> None:
    weak, strong = (Reason("volume", nats, "traded_share_30", "words") for nats in (0.1, 0.4))
    with engine.begin() as connection:
        predictions.record(connection, prediction(AS_OF, signal=False, reasons=[weak]))
        predictions.record(connection, prediction(AS_OF, reasons=[strong, weak]))
        predictions.record(connection, prediction(AS_OF, answer=Answer(0.7, 0.2, 0.1), reasons=[strong]))
        predictions.record(connection, prediction(AS_OF + timedelta(minutes=10)))
    nats = "SELECT jsonb_path_query_array(reasons, '$[*].towards_nats'), reasons->0->>'words'"
    assert rows(engine, f"{nats} FROM predictions ORDER BY bar_time") == [([0.4, 0.1], "words"), (None, None)]
    assert rows(engine, f"{nats} FROM answers_not_counted ORDER BY 1") == [([0.1], "words"), ([0.4], "words")]


def test_signal_replaces_a_refused_answer_but_not_vice_versa(engine: Engine) -> None:
    bars_at(engine, {0: 100.0, 10: 101.0, 11: 101.0})
    with engine.begin() as connection:
        refused = predictions.record(connection, prediction(AS_OF, signal=False))
        predictions.resolve(connection, LATER, 30)
        alerting = predictions.record(connection, prediction(AS_OF, preset="aggressive"))
        last = predictions.record(connection, prediction(AS_OF, signal=False))
    assert refused.id == alerting.id
    assert (alerting.new, last.new) == (True, False)
    counting = "SELECT preset, signal, outcome, resolved_at, counted FROM predictions"
    assert rows(engine, counting) == [("aggressive", True, None, None, None)]
    not_counted = rows(engine, "SELECT preset, signal, outcome, reason FROM answers_not_counted")
    assert not_counted == [("balanced", False, "up", "a later run (as of 2024-02-01 00:01 UTC) found a signal")]


def test_corrected_bar_keeps_both_answers_and_the_counted_price(engine: Engine) -> None:
    bars_at(engine, {0: 100.0, 10: 100.5, 11: 100.5})
    with engine.begin() as connection:
        predictions.record(connection, prediction(AS_OF))
        predictions.record(connection, prediction(AS_OF + timedelta(minutes=1), close=100.5))
    bars_at(engine, {0: 101.0})
    with engine.begin() as connection:
        predictions.record(connection, prediction(AS_OF, close=101.0, answer=Answer(0.6, 0.2, 0.2)))
        predictions.resolve(connection, AS_OF + timedelta(minutes=11), 30)
    assert rows(engine, "SELECT close, reason FROM answers_not_counted") == [
        (101.0, "an earlier answer counts; the bar closed at 100.0 then")
    ]
    gates = "SELECT close, corrected_close, counted, close_then, outcome FROM predictions ORDER BY bar_time LIMIT 1"
    assert rows(engine, gates) == [(100.0, 101.0, "corrected", 100.5, "down")]


@pytest.mark.parametrize(
    ("closes", "max_gap_minutes", "outcome", "void"),
    [
        ({0: 100.0, 10: 101.0}, 30, "up", None),
        ({0: 100.0, 10: 99.0}, 30, "down", None),
        ({0: 100.0, 10: 100.01}, 30, "flat", None),
        ({0: 100.0, 8: 101.0, 12: 90.0}, 30, "up", None),  # minute 10 repeats the close of minute 8
        ({0: 100.0, 8: 101.0}, 30, None, None),  # no bar yet shows whether minute 10 belongs to the session
        (
            {0: 100.0, 8: 101.0, 60: 90.0}, 30, None,
            "no bar between 2024-02-01 00:08 and 2024-02-01 01:00 UTC: the session broke",
        ),
        ({0: 100.0, 8: 101.0, 39: 90.0}, 30, "up", None),  # 30 missing minutes are still filled
        (
            {0: 100.0, 8: 101.0, 40: 90.0}, 30, None,
            "no bar between 2024-02-01 00:08 and 2024-02-01 00:40 UTC: the session broke",
        ),
        ({0: 100.0, 5: 100.0, 10: 101.0}, 4, "up", None),
        ({0: 100.0, 6: 100.0, 10: 101.0}, 4, None, "too many minutes without a bar: the session broke"),
    ],
)  # fmt: skip
def test_outcomes_follow_the_grid(
    engine: Engine, closes: dict[int, float], max_gap_minutes: int, outcome: str | None, void: str | None
) -> None:
    bars_at(engine, closes)
    with engine.begin() as connection:
        predictions.record(connection, prediction(AS_OF))
        resolved = predictions.resolve(connection, LATER, max_gap_minutes)
        again = predictions.resolve(connection, LATER, max_gap_minutes)
    settled = outcome is not None or void is not None
    assert rows(engine, "SELECT outcome, void_reason, resolved_at IS NOT NULL FROM predictions") == [
        (outcome, void, settled)
    ]
    assert (resolved, again) == (settled, 0)


def wait_for_a_waiting_session(engine: Engine) -> None:
    """Wait until a session of this database waits for a lock."""
    end = time.monotonic() + 30
    waiting = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
    while rows(engine, waiting) == [(0,)]:
        assert time.monotonic() < end, "no session waits"
        time.sleep(0.01)


def test_replaced_answer_does_not_get_a_concurrent_outcome(engine: Engine) -> None:
    bars_at(engine, {0: 100.0, 10: 99.95, 11: 99.95})
    with engine.begin() as connection:
        predictions.record(connection, prediction(AS_OF, signal=False, threshold=0.001))
    counts: list[int] = []

    def resolve() -> None:
        with engine.begin() as connection:
            counts.append(predictions.resolve(connection, LATER, 30))

    with engine.begin() as connection:
        predictions.record(connection, prediction(AS_OF, signal=True, threshold=0.0001))
        waiting = threading.Thread(target=resolve)
        waiting.start()
        wait_for_a_waiting_session(engine)
    waiting.join(30)
    assert counts == [0]
    resolve()
    assert counts == [0, 1]
    assert rows(engine, "SELECT outcome, signal FROM predictions") == [("down", True)]


def test_void_prediction_gets_its_outcome_after_bars_are_loaded(engine: Engine) -> None:
    bars_at(engine, {0: 100.0, 100: 90.0})
    with engine.begin() as connection:
        predictions.record(connection, prediction(AS_OF))
        predictions.resolve(connection, LATER, 30)
    assert rows(engine, "SELECT outcome, void_reason IS NULL FROM predictions") == [(None, False)]
    bars_at(engine, {10: 101.0, 12: 101.0})
    with engine.begin() as connection:
        assert predictions.resolve(connection, LATER, 30) == 1
    assert rows(engine, "SELECT outcome, void_reason, counted FROM predictions") == [("up", None, "stated")]


def test_outcome_is_resolved_after_ten_minutes(engine: Engine) -> None:
    bars_at(engine, {0: 100.0, 10: 101.0, 11: 101.0})
    with engine.begin() as connection:
        predictions.record(connection, prediction(AS_OF))
        counts = [predictions.resolve(connection, AS_OF + timedelta(minutes=m), 30) for m in (10, 11, 12)]
        recent = predictions.recent_signals(connection, "ABC", AS_OF + timedelta(minutes=11))
    assert counts == [0, 1, 0]
    assert (recent.count, recent.precision, recent.mean_confidence) == (1, 1.0, pytest.approx(0.7))


@pytest.mark.parametrize("max_gap_minutes", [3, 30])
def test_resolved_outcomes_equal_labels(engine: Engine, max_gap_minutes: int) -> None:
    holes = {400: 3, 700: 12, 900: 29, 1_500: 31, 2_200: 300, 3_000: 5, 3_100: 9}
    expected = {}
    for seed, symbol in enumerate(("ONE", "TWO")):
        bars = bars_with_holes(5_000, holes, seed=seed)
        store_bars(engine, symbol, bars)
        grid = to_grid(bars, max_gap_minutes)
        labels = label(forward_returns(grid), 0.001)
        recorded = grid.index[grid.index.isin(bars["time"]).nonzero()[0]][::7]
        request = set(recorded)
        expected |= {
            (symbol, time): CLASSES[labels[position]] if labels[position] >= 0 else None
            for position, time in enumerate(grid.index) if time in request
        }  # fmt: skip
        with engine.begin() as connection:
            for time in recorded:
                close = float(grid["close"].loc[time])
                predictions.record(connection, prediction(time.to_pydatetime(), symbol=symbol, close=close))
    end = bars["time"].iloc[-1] + timedelta(minutes=1)
    with engine.begin() as connection:
        resolved = predictions.resolve(connection, end.to_pydatetime(), max_gap_minutes)
    outcomes = {
        (symbol, pd.Timestamp(bar_time)): outcome
        for symbol, bar_time, outcome in rows(engine, "SELECT symbol, bar_time, outcome FROM predictions")
    }
    assert outcomes == expected
    voids = rows(engine, "SELECT count(*) FROM predictions WHERE void_reason IS NOT NULL")[0][0]
    without_outcome = sum(outcome is None for outcome in expected.values())
    assert voids > 2
    assert without_outcome - voids <= 4  # the last ten minutes of both symbols are still open
    assert resolved == len(expected) - (without_outcome - voids)


ENTRY = "entry_time, entry_price, entry_return, tradable"


@pytest.mark.parametrize("max_gap_minutes", [3, 30])
def test_entries_equal_a_plain_loop_over_the_bars(engine: Engine, max_gap_minutes: int) -> None:
    bars = bars_with_holes(1_500, {100: 1, 103: 9, 200: 10, 300: 12, 500: 29, 600: 31, 900: 100, 1_300: 5})
    store_bars(engine, "ABC", bars)
    prices = prices_of(bars)
    with engine.begin() as connection:
        for time, (_, close) in prices.items():
            predictions.record(connection, prediction(time.to_pydatetime(), close=close))
        predictions.resolve(connection, (bars["time"].iloc[-1] + timedelta(minutes=1)).to_pydatetime(), max_gap_minutes)
    kinds = set()
    for bar_time, entry_time, price, gained, tradable in rows(engine, f"SELECT bar_time, {ENTRY} FROM predictions"):
        expected = entry_by_hand(prices, pd.Timestamp(bar_time), max_gap_minutes)
        kinds.add((tradable, entry_time is not None and entry_time - bar_time > timedelta(minutes=1)))
        if expected is None or expected[0] is None:
            assert (entry_time, price, gained) == (None, None, None)
            assert tradable is (None if expected is None else False)
        else:
            assert (entry_time, price, tradable) == (expected[0], expected[1], True)
            assert gained == pytest.approx(expected[2], abs=1e-13)
    assert kinds >= {(True, False), (True, True), (None, False)}
    assert ((False, False) in kinds) is (max_gap_minutes == 30)


def test_entry_is_of_the_corrected_bar_where_the_outcome_is(engine: Engine) -> None:
    bars_at(engine, {0: 100.0, 1: 100.5, 10: 101.0})
    with engine.begin() as connection:
        predictions.record(connection, prediction(AS_OF))
    bars_at(engine, {1: 100.2, 10: 103.0})
    with engine.begin() as connection:
        predictions.resolve(connection, LATER, 30)
    assert rows(engine, "SELECT entry_price, close_then FROM predictions") == [(100.2, 103.0)]


def test_void_prediction_has_no_entry_until_its_outcome(engine: Engine) -> None:
    bars_at(engine, {0: 100.0, 2: 100.5, 100: 90.0})
    with engine.begin() as connection:
        predictions.record(connection, prediction(AS_OF))
        predictions.resolve(connection, LATER, 30)
    assert rows(engine, f"SELECT {ENTRY} FROM predictions") == [(None, None, None, None)]
    bars_at(engine, {10: 101.0, 12: 101.0})
    with engine.begin() as connection:
        predictions.resolve(connection, LATER, 30)
    assert rows(engine, "SELECT entry_time, entry_price, tradable FROM predictions") == [
        (AS_OF + timedelta(minutes=2), 100.5, True)
    ]


def test_replaced_answer_takes_its_entry_along(engine: Engine) -> None:
    bars_at(engine, {0: 100.0, 1: 100.5, 10: 101.0})
    with engine.begin() as connection:
        predictions.record(connection, prediction(AS_OF, signal=False))
        predictions.resolve(connection, LATER, 30)
        predictions.record(connection, prediction(AS_OF, preset="aggressive"))
    assert rows(engine, f"SELECT {ENTRY} FROM predictions") == [(None, None, None, None)]
    assert rows(engine, "SELECT entry_price, tradable FROM answers_not_counted") == [(100.5, True)]


@pytest.mark.parametrize(
    ("closes", "entry"),
    [
        ({0: 100.0, 3: 100.5, 10: 101.0}, (100.5, True)),
        ({0: 100.0, 11: 101.0}, (None, False)),
        ({0: 100.0}, (None, None)),  # no later bar shows that the others are not just missing
        ({}, (None, None)),  # its bars have been removed
        ({0: 98.0, 11: 101.0}, (None, None)),  # the bar that ended its ten minutes was another one
    ],
)
def test_older_outcomes_get_their_entry_where_the_bars_are_left(
    engine: Engine, closes: dict[int, float], entry: tuple
) -> None:
    if closes:
        bars_at(engine, closes)
    close_then = 101.0 if 10 in closes else 100.0
    with engine.begin() as connection:
        predictions.record(connection, prediction(AS_OF))
        connection.execute(
            text("UPDATE predictions SET outcome = 'up', forward_return = 0.01, close_then = :close_then"),
            {"close_then": close_then},
        )
        assert predictions.resolve(connection, LATER, 30) == 0
    assert rows(engine, "SELECT entry_price, tradable FROM predictions") == [entry]


def test_signals_of_another_margin_can_be_counted_by_sql(engine: Engine) -> None:
    """The gates column has the values of every answer, not only of signals."""
    from hybrid_ml.signals.gates import GateContext, evaluate_gates, refused_by
    from hybrid_ml.signals.penalty import NO_PENALTY
    from hybrid_ml.signals.presets import Bounds

    def verdicts(answer: Answer, margin: float) -> list:
        bounds = Bounds(min_confidence=0.45, min_prob_margin=margin, max_entropy=1.1)
        return evaluate_gates(answer, GateContext(bounds, NO_PENALTY, 0.0, 15.0))

    answers = [Answer(0.5 - step / 100, 0.1, 0.4 + step / 100) for step in range(-15, 16)]
    with engine.begin() as connection:
        for position, answer in enumerate(answers):
            gates = verdicts(answer, 0.20)
            request = prediction(
                AS_OF + timedelta(minutes=position), answer=answer, verdicts=gates, signal=not refused_by(gates)
            )
            predictions.record(connection, request)
    count = rows(
        engine,
        "SELECT count(*) FROM predictions WHERE NOT EXISTS (SELECT 1 FROM jsonb_array_elements(gates) AS gate WHERE "
        "NOT (CASE WHEN gate ->> 'gate' = 'margin' THEN (gate ->> 'value')::float >= 0.15 "
        "ELSE (gate ->> 'passed')::bool END))",
    )[0][0]
    assert count == sum(not refused_by(verdicts(answer, 0.15)) for answer in answers)
    assert count > sum(not refused_by(verdicts(answer, 0.20)) for answer in answers)


def test_recent_accuracy_is_kept_with_every_answer(engine: Engine) -> None:
    with engine.begin() as connection:
        predictions.record(connection, prediction(AS_OF, signal=False, recent_accuracy=0.4))
        predictions.record(connection, prediction(AS_OF, recent_accuracy=0.3))
        predictions.record(connection, prediction(AS_OF, answer=Answer(0.7, 0.2, 0.1), recent_accuracy=0.2))
        predictions.record(connection, prediction(LATER, recent_rows=0, recent_accuracy=None))
    kept = "SELECT recent_rows, recent_accuracy FROM"
    assert rows(engine, f"{kept} predictions ORDER BY bar_time") == [(200, 0.3), (0, None)]
    assert rows(engine, f"{kept} answers_not_counted ORDER BY 2") == [(200, 0.2), (200, 0.4)]


def test_signals_count_only_after_their_outcome_is_known(engine: Engine) -> None:
    with engine.begin() as connection:
        predictions.record(connection, prediction(AS_OF))
        connection.execute(text("UPDATE predictions SET outcome = direction, resolved_at = now()"))
        counts = [
            predictions.recent_signals(connection, "ABC", AS_OF + timedelta(minutes=minutes)).count
            for minutes in (1, 10, 11)
        ]
    assert counts == [0, 0, 1]
