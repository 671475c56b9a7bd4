"""The ledger as a data frame, read from a real PostgreSQL."""

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


def read_ledger(
    engine: Engine, symbols: list[str], since: datetime = SINCE, until: datetime = REVIEWED_AT
) -> pd.DataFrame:
    with engine.connect() as connection:
        return ledger_between(connection, symbols, since, until)


def test_stored_answers_are_read_unchanged(engine: Engine) -> None:
    frame = simulated_ledger(count=200)
    frame.loc[3, "model_version"] = 'odd, "name"\nof two lines'
    insert_answers(engine, frame)
    ledger = read_ledger(engine, ["ABC"])
    common = [name for name in ledger.columns if name in frame.columns]
    assert set(ledger.columns) == set(frame.columns) - {"gates", "created_at"}
    expected = frame[common].astype({"corrected_close": float})
    pd.testing.assert_frame_equal(ledger[common], expected, check_exact=True, check_dtype=False)
    assert (ledger["refused_by"] == frame["refused_by"]).all()
    assert {"", "direction,confidence,margin,entropy"} <= set(ledger["refused_by"])
    assert ledger["bar_time"].dtype == "datetime64[us, UTC]"


def test_ledger_is_limited_to_symbols_and_half_open_period(engine: Engine) -> None:
    for symbol in ("NA", "null", "B'D"):
        insert_answers(engine, simulated_ledger(symbol, 10))
    assert read_ledger(engine, ["NA", "B'D"])["symbol"].value_counts().to_dict() == {"B'D": 10, "NA": 10}
    frame = read_ledger(engine, ["null"])
    first, last = frame["bar_time"].iloc[0], frame["bar_time"].iloc[-1]
    assert len(read_ledger(engine, ["null"], first + timedelta(seconds=1), last)) == 8
    assert read_ledger(engine, []).empty
    with engine.connect() as connection:
        assert ledger_symbols(connection) == sorted(["NA", "null", "B'D"])


def test_ledger_of_the_past_has_no_later_outcomes(engine: Engine) -> None:
    insert_answers(engine, simulated_ledger(count=30))
    early = read_ledger(engine, ["ABC"], until=REVIEWED_AT - timedelta(minutes=5))
    assert early["outcome"].isna().sum() == 1
    assert np.isnan(early["forward_return"].iloc[-1])
    assert early[["entry_time", "entry_price", "entry_return", "tradable"]].iloc[-1].isna().all()
    with engine.begin() as connection:
        connection.execute(text("UPDATE predictions SET as_of = now()"))
    assert read_ledger(engine, ["ABC"]).empty


def test_void_answer_has_its_reason(engine: Engine) -> None:
    frame = simulated_ledger(count=3)
    frame.loc[0, ["outcome", "forward_return", "counted", "close_then"]] = None
    frame.loc[0, "void_reason"] = "the session ended before"
    insert_answers(engine, frame)
    store_bars(engine, "ABC", hand_made_bars([100.0] * 30, start=frame["bar_time"].iloc[0]))
    ledger = read_ledger(engine, ["ABC"])
    assert ledger["void_reason"].iloc[0] == "the session ended before"
    assert ledger["void_reason"].isna().tolist() == [False, True, True]
    assert ledger["outcome"].isna().tolist() == [True, False, False]


def test_void_is_known_only_after_the_bar_after_the_gap(engine: Engine) -> None:
    frame = simulated_ledger(count=2, until=REVIEWED_AT - timedelta(hours=2))
    frame.loc[1, ["outcome", "forward_return", "counted", "close_then"]] = None
    frame.loc[1, "void_reason"] = "the session broke"
    insert_answers(engine, frame)
    after = REVIEWED_AT - timedelta(hours=1)
    store_bars(engine, "ABC", hand_made_bars([100.0] * 10, start=after))
    assert read_ledger(engine, ["ABC"], until=after)["void_reason"].isna().tolist() == [True, True]
    void_reasons = read_ledger(engine, ["ABC"], until=after + timedelta(minutes=1))["void_reason"]
    assert void_reasons.tolist()[1] == "the session broke"


def test_answers_recorded_after_ten_minutes_are_marked_late(engine: Engine) -> None:
    frame = simulated_ledger(count=3)
    late = frame["bar_time"] + timedelta(minutes=11)
    frame["created_at"] = [frame["bar_time"].iloc[0], late.iloc[1] - timedelta(seconds=1), late.iloc[2]]
    insert_answers(engine, frame)
    assert read_ledger(engine, ["ABC"])["recorded_late"].tolist() == [False, False, True]


def test_outcomes_on_corrected_bars_are_marked(engine: Engine) -> None:
    frame = simulated_ledger(count=4)
    bars = hand_made_bars([100.0] * 100, start=frame["bar_time"].iloc[0])
    bars.loc[1::10, "open"] = frame["entry_price"].iloc[0]
    for position in range(4):
        bars.loc[10 * position + 10, "close"] = frame["close_then"].iloc[position]
    frame["close"] = [100.0, *frame["close_then"].iloc[:3]]
    frame.loc[2, ["close", "corrected_close"]] = [55.0, frame["close"].iloc[2]]
    store_bars(engine, "ABC", bars)
    insert_answers(engine, frame)
    assert read_ledger(engine, ["ABC"])["corrected_since"].tolist() == [False] * 4
    bars.loc[20, "close"] += 1  # the last bar of the second answer and the first of the third
    store_bars(engine, "ABC", bars)
    assert read_ledger(engine, ["ABC"])["corrected_since"].tolist() == [False, True, True, False]


def test_entries_on_corrected_bars_are_marked(engine: Engine) -> None:
    frame = simulated_ledger(count=4)
    bars = hand_made_bars([100.0] * 45, start=frame["bar_time"].iloc[0])
    bars.loc[1::10, "open"] = 100.1  # the entries of the four answers
    frame["forward_return"], frame["close_then"] = 0.0, 100.0
    frame.loc[2, ["entry_time", "entry_price", "entry_return"]] = None
    frame["tradable"] = [True, True, False, None]  # the last one is from before there were entries
    not_traded = range(21, 31)
    insert_answers(engine, frame)
    store_bars(engine, "ABC", bars.drop(index=not_traded))
    assert read_ledger(engine, ["ABC"])["corrected_since"].tolist() == [False] * 4
    assert read_ledger(engine, ["ABC"])["tradable"].tolist() == [True, True, False, None]
    bars.loc[11, "open"] = bars.loc[31, "open"] = 99.9
    store_bars(engine, "ABC", bars)
    assert read_ledger(engine, ["ABC"])["corrected_since"].tolist() == [False, True, True, False]


def test_deliveries_are_counted_with_their_durations(engine: Engine) -> None:
    frame = simulated_ledger(count=5)
    insert_answers(engine, frame)
    times = [moment.to_pydatetime() for moment in frame["bar_time"]]
    for position, (state, seconds) in enumerate([("sent", 2), ("sent", 61), ("sent", 10), ("expired", 600)]):
        insert_alert(engine, "ABC", times[position], {"1": (state, seconds), "2": ("pending", None)})
    insert_alert(engine, "ABC", times[0], {"1": ("sent", 1)}, kind="outcome")
    insert_alert(engine, "", REVIEWED_AT - timedelta(days=1), {"1": ("refused", 1)}, kind="summary")
    with engine.connect() as connection:
        counts = count_deliveries(connection, ["ABC"], SINCE, REVIEWED_AT)
        other = count_deliveries(connection, ["XYZ"], SINCE, REVIEWED_AT)
    facts = {(item.kind, item.chat_id, item.state): item for item in counts}
    assert {key: item.count for key, item in facts.items()} == {
        ("outcome", "1", "sent"): 1, ("signal", "1", "expired"): 1, ("signal", "1", "sent"): 3,
        ("signal", "2", "pending"): 4, ("summary", "1", "refused"): 1,
    }  # fmt: skip
    sent = facts["signal", "1", "sent"]
    assert (sent.late, sent.median_seconds, sent.longest_seconds) == (1, 10.0, 61.0)
    assert facts["signal", "1", "expired"].late == 0
    assert facts["signal", "2", "pending"].median_seconds is None
    assert [item.kind for item in other] == ["summary"]


def test_hundred_thousand_answers_are_read_within_a_minute(engine: Engine) -> None:
    with engine.begin() as connection:
        connection.execute(
            text(
                "INSERT INTO predictions (symbol, bar_time, as_of, close, p_down, p_flat, p_up, threshold, direction,"
                " confidence, model_version, preset, gates, signal, fell_back, outcome, forward_return,"
                " resolved_at, counted, close_then)"
                " SELECT 'ABC', t, t + interval '1 minute', 100, 0.2, 0.3, 0.5, 0.001, 'up', 0.5, 'ABC@1', 'balanced',"
                " (SELECT jsonb_agg(jsonb_build_object('gate', gate, 'value', 0.5, 'bound', 0.6, 'passed', false,"
                " 'meaning', 'top probability at least 0.600')) FROM unnest(ARRAY['direction', 'confidence', 'margin',"
                " 'entropy', 'freshness', 'session']) AS gate),"
                " false, false, 'flat', 0.0001, t + interval '11 minutes', 'stated', 100.01"
                " FROM generate_series(CAST(:until AS timestamptz) - interval '100000 minutes',"
                " :until, '1 minute') AS t"
            ),
            {"until": REVIEWED_AT - timedelta(minutes=1)},
        )
        connection.execute(text("INSERT INTO bars SELECT 'ABC', bar_time, 100, 101, 99, 100, 1 FROM predictions"))
    started = time.perf_counter()
    frame = read_ledger(engine, ["ABC"], since=REVIEWED_AT - timedelta(days=100))
    assert len(frame) == 100_001
    assert time.perf_counter() - started < 60
