"""The ledger as a frame, from a real PostgreSQL."""

import time
from datetime import datetime, timedelta

import numpy as np
import pandas as pd
from sqlalchemy import Engine, text

from hybrid_ml.store.bars import store_bars
from hybrid_ml.store.ledger import count_deliveries, ledger_between, ledger_symbols
from tests.ledgers import REVIEWED_AT, insert_alert, insert_answers, simulated_ledger
from tests.simulated import hand_made_bars

SINCE = REVIEWED_AT - timedelta(days=30)


def between(engine: Engine, symbols: list[str], since: datetime = SINCE, until: datetime = REVIEWED_AT) -> pd.DataFrame:
    with engine.connect() as connection:
        return ledger_between(connection, symbols, since, until)


def test_answers_come_back_as_they_went_in(engine: Engine) -> None:
    frame = simulated_ledger(count=200)
    frame.loc[3, "model_version"] = 'odd, "name"\nof two lines'
    insert_answers(engine, frame)
    back = between(engine, ["ABC"])
    shared = [name for name in back.columns if name in frame.columns]
    assert set(back.columns) == set(frame.columns) - {"gates", "created_at"}
    expected = frame[shared].astype({"corrected_close": float})
    pd.testing.assert_frame_equal(back[shared], expected, check_exact=True, check_dtype=False)
    assert (back["refused_by"] == frame["refused_by"]).all()
    assert {"", "direction,confidence,margin,entropy"} <= set(back["refused_by"])
    assert back["bar_time"].dtype == "datetime64[us, UTC]"


def test_symbols_are_told_apart_and_the_period_ends_before_its_end(engine: Engine) -> None:
    for symbol in ("NA", "null", "B'D"):
        insert_answers(engine, simulated_ledger(symbol, 10))
    assert between(engine, ["NA", "B'D"])["symbol"].value_counts().to_dict() == {"B'D": 10, "NA": 10}
    frame = between(engine, ["null"])
    first, last = frame["bar_time"].iloc[0], frame["bar_time"].iloc[-1]
    assert len(between(engine, ["null"], first + timedelta(seconds=1), last)) == 8
    assert between(engine, []).empty
    with engine.connect() as connection:
        assert ledger_symbols(connection) == sorted(["NA", "null", "B'D"])


def test_the_past_is_seen_as_it_was_then(engine: Engine) -> None:
    insert_answers(engine, simulated_ledger(count=30))
    early = between(engine, ["ABC"], until=REVIEWED_AT - timedelta(minutes=5))
    assert early["outcome"].isna().sum() == 1
    assert np.isnan(early["forward_return"].iloc[-1])
    with engine.begin() as connection:
        connection.execute(text("UPDATE predictions SET as_of = now()"))
    assert between(engine, ["ABC"]).empty


def test_what_has_no_outcome_says_why(engine: Engine) -> None:
    frame = simulated_ledger(count=3)
    frame.loc[0, ["outcome", "forward_return", "counted", "close_then"]] = None
    frame.loc[0, "void_reason"] = "the session ended before"
    insert_answers(engine, frame)
    store_bars(engine, "ABC", hand_made_bars([100.0] * 30, start=frame["bar_time"].iloc[0]))
    back = between(engine, ["ABC"])
    assert back["void_reason"].iloc[0] == "the session ended before"
    assert back["void_reason"].isna().tolist() == [False, True, True]
    assert back["outcome"].isna().tolist() == [True, False, False]


def test_a_void_is_known_only_when_the_bar_after_the_gap_has_closed(engine: Engine) -> None:
    frame = simulated_ledger(count=2, until=REVIEWED_AT - timedelta(hours=2))
    frame.loc[1, ["outcome", "forward_return", "counted", "close_then"]] = None
    frame.loc[1, "void_reason"] = "the session broke"
    insert_answers(engine, frame)
    after = REVIEWED_AT - timedelta(hours=1)
    store_bars(engine, "ABC", hand_made_bars([100.0] * 10, start=after))
    assert between(engine, ["ABC"], until=after)["void_reason"].isna().tolist() == [True, True]
    known = between(engine, ["ABC"], until=after + timedelta(minutes=1))["void_reason"]
    assert known.tolist()[1] == "the session broke"


def test_answers_recorded_when_their_ten_minutes_were_over_are_marked(engine: Engine) -> None:
    frame = simulated_ledger(count=3)
    late = frame["bar_time"] + timedelta(minutes=11)
    frame["created_at"] = [frame["bar_time"].iloc[0], late.iloc[1] - timedelta(seconds=1), late.iloc[2]]
    insert_answers(engine, frame)
    assert between(engine, ["ABC"])["recorded_late"].tolist() == [False, False, True]


def test_outcomes_on_bars_corrected_since_are_marked(engine: Engine) -> None:
    frame = simulated_ledger(count=4)
    bars = hand_made_bars([100.0] * 100, start=frame["bar_time"].iloc[0])
    for place in range(4):
        bars.loc[10 * place + 10, "close"] = frame["close_then"].iloc[place]
    frame["close"] = [100.0, *frame["close_then"].iloc[:3]]
    frame.loc[2, ["close", "corrected_close"]] = [55.0, frame["close"].iloc[2]]
    store_bars(engine, "ABC", bars)
    insert_answers(engine, frame)
    assert between(engine, ["ABC"])["corrected_since"].tolist() == [False] * 4
    bars.loc[20, "close"] += 1  # ends the second answer's ten minutes and begins the third's
    store_bars(engine, "ABC", bars)
    assert between(engine, ["ABC"])["corrected_since"].tolist() == [False, True, True, False]


def test_deliveries_are_counted_with_how_long_they_took(engine: Engine) -> None:
    frame = simulated_ledger(count=5)
    insert_answers(engine, frame)
    times = [moment.to_pydatetime() for moment in frame["bar_time"]]
    for place, (state, seconds) in enumerate([("sent", 2), ("sent", 61), ("sent", 10), ("expired", 600)]):
        insert_alert(engine, "ABC", times[place], {"1": (state, seconds), "2": ("pending", None)})
    insert_alert(engine, "ABC", times[0], {"1": ("sent", 1)}, kind="outcome")
    insert_alert(engine, "", REVIEWED_AT - timedelta(days=1), {"1": ("refused", 1)}, kind="summary")
    with engine.connect() as connection:
        found = count_deliveries(connection, ["ABC"], SINCE, REVIEWED_AT)
        other = count_deliveries(connection, ["XYZ"], SINCE, REVIEWED_AT)
    facts = {(item.kind, item.chat_id, item.state): item for item in found}
    assert {key: item.count for key, item in facts.items()} == {
        ("outcome", "1", "sent"): 1, ("signal", "1", "expired"): 1, ("signal", "1", "sent"): 3,
        ("signal", "2", "pending"): 4, ("summary", "1", "refused"): 1,
    }  # fmt: skip
    sent = facts["signal", "1", "sent"]
    assert (sent.late, sent.median_seconds, sent.longest_seconds) == (1, 10.0, 61.0)
    assert facts["signal", "1", "expired"].late == 0
    assert facts["signal", "2", "pending"].median_seconds is None
    assert [item.kind for item in other] == ["summary"]


def test_a_hundred_thousand_answers_are_read_within_seconds(engine: Engine) -> None:
    with engine.begin() as connection:
        connection.execute(
            text(
                "INSERT INTO predictions (symbol, bar_time, as_of, close, p_down, p_flat, p_up, threshold, direction,"
                " confidence, model_version, preset, gates, signal, degraded, fell_back, outcome, forward_return,"
                " resolved_at, counted, close_then)"
                " SELECT 'ABC', t, t + interval '1 minute', 100, 0.2, 0.3, 0.5, 0.001, 'up', 0.5, 'ABC@1', 'balanced',"
                " (SELECT jsonb_agg(jsonb_build_object('gate', gate, 'value', 0.5, 'bound', 0.6, 'passed', false,"
                " 'meaning', 'top probability at least 0.600')) FROM unnest(ARRAY['direction', 'confidence', 'margin',"
                " 'entropy', 'freshness', 'recent_accuracy']) AS gate),"
                " false, false, false, 'flat', 0.0001, t + interval '11 minutes', 'stated', 100.01"
                " FROM generate_series(CAST(:until AS timestamptz) - interval '100000 minutes',"
                " :until, '1 minute') AS t"
            ),
            {"until": REVIEWED_AT - timedelta(minutes=1)},
        )
        connection.execute(text("INSERT INTO bars SELECT 'ABC', bar_time, 100, 101, 99, 100, 1 FROM predictions"))
    started = time.perf_counter()
    frame = between(engine, ["ABC"], since=REVIEWED_AT - timedelta(days=100))
    assert len(frame) == 100_001
    assert time.perf_counter() - started < 60
