"""The review as a Prefect flow, on simulated ledgers with known true probabilities."""

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from sqlalchemy import Engine

from flows.review import review
from hybrid_ml.errors import BadInput
from hybrid_ml.market.bars import clean_bars
from hybrid_ml.market.simulation import simulate_bars
from hybrid_ml.review.result import ReviewReport
from hybrid_ml.schemas.requests import ReviewRequest
from hybrid_ml.store import outbox
from hybrid_ml.store.bars import store_bars
from tests.conftest import Command
from tests.flows.running import page, rows, run
from tests.ledgers import REVIEWED_AT, insert_alert, insert_answers, simulated_ledger
from tests.telegram_api import BotApi


def run_review(**changes: Any) -> tuple[Any, ReviewReport]:
    return run(review, ReviewRequest(**{"as_of": REVIEWED_AT, **changes}))


@pytest.fixture(scope="module")
def two_months() -> pd.DataFrame:
    return clean_bars(simulate_bars(REVIEWED_AT, bars=63 * 1_440)).bars


def test_review_of_an_empty_ledger_completes(engine: Engine, prefect_api: str) -> None:
    state, report = run_review()
    assert state.is_completed()
    assert state.name == "Completed"
    assert report.overall["answers"] == 0
    assert report.found == []
    assert "there is nothing to review yet" in page("review")


def test_calibrated_answers_cause_no_finding_and_every_symbol_is_reported(
    engine: Engine, prefect_api: str, two_months: pd.DataFrame
) -> None:
    store_bars(engine, "ABC", two_months)
    store_bars(engine, "QUIET", two_months.tail(2_000))
    insert_answers(engine, simulated_ledger(count=2_000, seed=3))
    insert_answers(engine, simulated_ledger("NOBARS", 500, seed=1, preset="aggressive"))
    state, report = run_review()
    assert state.name == "Completed"
    assert report.found == []
    assert report.failures == []
    assert [(part["symbol"], part["preset"]) for part in report.parts] == [
        ("ABC", "balanced"), ("NOBARS", "aggressive"),
    ]  # fmt: skip
    facts = {watch.symbol: watch.features for watch in report.watches}
    assert facts["ABC"].p is not None
    assert facts["NOBARS"].verdict.startswith("not known: no bar since")
    assert facts["QUIET"].verdict == "not known: 2 days with enough bars, 20 are needed"
    message = page("review")
    verdict = message.index("**Nothing found in what could be judged, which was not everything.**")
    nobars = message.index("- NOBARS: features not known: no bar since")
    assert verdict < nobars < message.index("## Metrics of the answers")
    assert message.count("](data:image/png;base64,") == 4


def test_report_equals_plain_sql(engine: Engine, prefect_api: str) -> None:
    insert_answers(engine, simulated_ledger(count=700, seed=3))
    insert_answers(engine, simulated_ledger("XYZ", 500, seed=1, preset="conservative"))
    _, report = run_review()
    text = rows(
        engine,
        "SELECT symbol, count(*) FILTER (WHERE signal),"
        " sum((direction = outcome)::int) FILTER (WHERE signal) / (count(*) FILTER (WHERE signal))::float8,"
        " (count(*) FILTER (WHERE signal AND direction <> outcome))"
        " / (count(*) FILTER (WHERE direction <> outcome))::float8,"
        " (count(*) FILTER (WHERE signal)) / count(*)::float8,"
        " avg((direction = outcome)::int)::float8"
        " FROM predictions GROUP BY ROLLUP (symbol) ORDER BY symbol NULLS FIRST",
    )
    for (symbol, count, *shares), part in zip(text, [report.overall, *report.parts], strict=True):
        signals = part["signals"]
        assert (part["symbol"], signals["count"]) == (symbol, count)
        reported = [signals["precision"], signals["false_positive_rate"], signals["coverage"], part["accuracy"]]
        assert reported == pytest.approx(shares, abs=1e-12)


def test_fallen_accuracy_ends_the_run_as_drift(engine: Engine, prefect_api: str) -> None:
    insert_answers(engine, simulated_ledger(count=3_000, seed=2, calibration=0.0, calibrated_until=1_500))
    state, report = run_review()
    assert state.is_completed()
    assert state.name == "Drift"
    fell, short = report.found
    assert fell.startswith("ABC: the accuracy has fallen: accuracy 0.6")
    assert short.startswith("ABC: signals were right less often than stated")
    assert fell in state.message
    cut = report.watches[0].correctness.fallen
    assert cut is not None
    assert abs(cut.at - (REVIEWED_AT - timedelta(minutes=15_011))) < timedelta(days=1)
    message = page("review")
    places = [message.index(text) for text in ("**Found:**", "the accuracy has fallen", "## Metrics of the answers")]
    assert places == sorted(places)


def test_drifted_features_are_named(engine: Engine, prefect_api: str, two_months: pd.DataFrame) -> None:
    bars = two_months.copy()
    newest = bars["time"] >= pd.Timestamp(REVIEWED_AT - timedelta(days=3))
    bars.loc[newest & (bars.index % 2 == 0), "volume"] = 0.0
    store_bars(engine, "ABC", bars)
    state, report = run_review()
    assert state.name == "Drift"
    assert len(report.found) == 1
    assert "traded_share_30 lower" in report.found[0]


def test_failing_symbol_does_not_stop_the_others(
    engine: Engine, prefect_api: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for symbol in ("ABC", "XYZ"):
        insert_answers(engine, simulated_ledger(symbol, 300))
    from tasks import review as stages

    judge = stages.correctness

    def fail_for_abc(answers: pd.DataFrame) -> Any:
        if answers["symbol"].iloc[0] == "ABC":
            raise RuntimeError("out of order")
        return judge(answers)

    monkeypatch.setattr(stages, "correctness", fail_for_abc)
    state, report = run_review()
    assert state.is_failed()
    assert "ABC: out of order" in state.message
    assert [watch.symbol for watch in report.watches] == ["XYZ"]
    assert len(report.parts) == 2
    assert "ABC failed: out of order" in page("review")


def test_report_is_written_to_report_path(engine: Engine, prefect_api: str, tmp_path: Path) -> None:
    insert_answers(engine, simulated_ledger(count=400))
    run_review(report_path=tmp_path / "report")
    files = {path.name for path in (tmp_path / "report").iterdir()}
    assert files == {"review.md", "review.json", "accuracy.png", "reliability.png", "coverage.png", "equity.png"}
    assert json.loads((tmp_path / "report" / "review.json").read_text())["overall"]["answers"] == 400
    assert "](accuracy.png)" in (tmp_path / "report" / "review.md").read_text()


def test_unwritable_report_path_is_refused_before_the_work(engine: Engine, prefect_api: str, tmp_path: Path) -> None:
    (tmp_path / "taken").write_text("a file")
    state, refusal = run_review(report_path=tmp_path / "taken")
    assert state.is_failed()
    assert isinstance(refusal, BadInput)
    assert "--report_path" in str(refusal)


def test_failing_summary_is_named_and_the_report_is_complete(
    engine: Engine, prefect_api: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: Any, **__: Any) -> None:
        raise BadInput("no chat is configured")

    insert_answers(engine, simulated_ledger(count=50))
    monkeypatch.setattr(outbox, "write", refuse, raising=False)
    state, report = run_review(send_summary=True)
    assert state.is_failed()
    assert "summary: no chat is configured" in state.message
    assert report.overall["answers"] == 50


def test_one_summary_per_day_is_sent(engine: Engine, prefect_api: str, telegram: BotApi) -> None:
    frame = simulated_ledger(count=300)
    insert_answers(engine, frame)
    signal = frame[frame["signal"]].iloc[-1]
    insert_alert(engine, "ABC", signal["bar_time"].to_pydatetime(), {"1": ("sent", 2.0)})
    for _ in range(2):
        state, _ = run_review(send_summary=True, disable_sleep_window=True)
        assert state.is_completed()
    [message] = telegram.messages
    assert (message["chat_id"], message["parse_mode"]) == ("42", "HTML")
    assert "alerts: 1 sent" in message["text"]
    summaries = "SELECT bar_time, state FROM alerts JOIN deliveries ON alert_id = alerts.id WHERE kind = 'summary'"
    assert rows(engine, summaries) == [(datetime(2024, 3, 5, tzinfo=REVIEWED_AT.tzinfo), "sent")]
    run_review(as_of=REVIEWED_AT + timedelta(days=1))
    assert len(telegram.messages) == 1


def test_summary_waits_for_the_end_of_quiet_hours(engine: Engine, prefect_api: str, telegram: BotApi) -> None:
    insert_answers(engine, simulated_ledger(count=50))
    clock = datetime.now(UTC)
    window = f"{clock - timedelta(hours=1):%H:%M}-{clock + timedelta(hours=2):%H:%M}"
    state, _ = run_review(send_summary=True, sleep_window=window, sleep_timezone="UTC")
    assert state.is_completed()
    assert telegram.messages == []
    [(after, until, state)] = rows(
        engine, "SELECT send_after, send_until, state FROM alerts JOIN deliveries ON alert_id = alerts.id"
    )
    assert after == clock.replace(second=0, microsecond=0) + timedelta(hours=2)
    assert (until - after, state) == (timedelta(hours=12), "pending")


def test_chat_with_selected_symbols_gets_no_summary(
    engine: Engine, prefect_api: str, telegram: BotApi, monkeypatch: pytest.MonkeyPatch
) -> None:
    preferences = [{"chat_id": "43", "symbols": ["ABC"]}, {"chat_id": "44", "min_confidence": 0.9}]
    monkeypatch.setenv("TELEGRAM_CHATS", json.dumps(preferences))
    insert_answers(engine, simulated_ledger(count=50))
    run_review(send_summary=True, disable_sleep_window=True)
    assert {str(message["chat_id"]) for message in telegram.messages} == {"42", "44"}


def test_unknown_symbol_is_refused(command: Command, engine: Engine) -> None:
    insert_answers(engine, simulated_ledger(count=5))
    done = command("review", "--symbol", "TYPO")
    assert done.returncode == 1
    assert "--symbol TYPO: no bars or answers of it (there are those of: ABC)" in done.stderr


def test_due_outcomes_are_resolved_before_the_review(
    engine: Engine, prefect_api: str, two_months: pd.DataFrame
) -> None:
    store_bars(engine, "ABC", two_months.tail(3_000))
    frame = simulated_ledger(count=5)
    frame["close"] = two_months.set_index("time")["close"].reindex(frame["bar_time"]).to_numpy()
    open_columns = ["outcome", "forward_return", "resolved_at", "counted", "close_then"]
    frame[open_columns] = frame[open_columns].astype(object)
    frame.loc[:3, open_columns] = None
    insert_answers(engine, frame.dropna(subset="close"))
    _, report = run_review()
    assert report.overall["resolved"] == len(frame.dropna(subset="close"))
    assert rows(engine, "SELECT count(*) FROM predictions WHERE outcome IS NULL") == [(0,)]


def test_command_prints_json_or_tables_and_exits_0(command: Command, engine: Engine) -> None:
    empty = command("review", "--as_of", "2024-03-05T00:30")
    assert empty.returncode == 0, empty.stderr
    assert "nothing to review" in empty.stdout
    insert_answers(engine, simulated_ledger(count=3_000, seed=2, calibration=0.0, calibrated_until=1_500))
    done = command("review", "--as_of", "2024-03-05T00:30", "--json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["found"][0].startswith("ABC: the accuracy has fallen")
    printed = command("review", "--as_of", "2024-03-05T00:30")
    assert "the accuracy has fallen" in printed.stdout
    assert "Which setting gives a precision of 0.60?" in printed.stdout


def test_review_of_a_future_time_is_refused(command: Command) -> None:
    done = command("review", "--as_of", "2199-01-01")
    assert done.returncode == 1
    assert "is in the future" in done.stderr
