"""The review as a Prefect flow, on simulated ledgers with known true probabilities."""

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from sqlalchemy import Engine, text

from flows.review import review
from hybrid_ml.console.review_tables import show_review
from hybrid_ml.errors import BadInput, HybridMLError
from hybrid_ml.market.bars import clean_bars
from hybrid_ml.market.simulation import simulate_bars
from hybrid_ml.review.result import ReviewReport
from hybrid_ml.schemas.requests import ReviewRequest
from hybrid_ml.store import outbox
from hybrid_ml.store.bars import store_bars
from tests.commands.conftest import command_here as command_here  # noqa: PLC0414  # a command in this process
from tests.conftest import Command
from tests.flows.running import page, rows, run
from tests.ledgers import REVIEWED_AT, insert_alert, insert_answers, simulated_ledger
from tests.telegram_api import BotApi


def run_review(**changes: Any) -> tuple[Any, ReviewReport]:
    return run(review, ReviewRequest(**{"as_of": REVIEWED_AT, **changes}))


@pytest.fixture(scope="module")
def weeks_of_bars() -> pd.DataFrame:
    return clean_bars(simulate_bars(REVIEWED_AT, bars=45 * 1_440)).bars


def test_review_of_an_empty_ledger_completes(engine: Engine, prefect_api: str) -> None:
    state, report = run_review()
    assert state.is_completed()
    assert state.name == "Completed"
    assert report.overall["answers"] == 0
    assert report.found == []
    assert "there is nothing to review yet" in page("review")


def test_calibrated_answers_cause_no_finding_and_drifted_features_are_named(
    engine: Engine, prefect_api: str, weeks_of_bars: pd.DataFrame
) -> None:
    store_bars(engine, "ABC", weeks_of_bars)
    store_bars(engine, "QUIET", weeks_of_bars.tail(2_000))
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
    with engine.begin() as connection:
        changed = "UPDATE bars SET volume = 0 WHERE time >= :since AND extract(minute FROM time)::int % 2 = 0"
        connection.execute(text(changed), {"since": REVIEWED_AT - timedelta(days=3)})
    state, report = run_review()
    assert state.name == "Drift"
    assert len(report.found) == 1
    assert "traded_share_30 lower" in report.found[0]


def test_report_equals_plain_sql_and_is_written_to_report_path(
    engine: Engine, prefect_api: str, tmp_path: Path
) -> None:
    insert_answers(engine, simulated_ledger(count=700, seed=3))
    insert_answers(engine, simulated_ledger("XYZ", 500, seed=1, preset="conservative"))
    _, report = run_review(report_path=tmp_path / "report")
    by_sql = rows(
        engine,
        "SELECT symbol, count(*) FILTER (WHERE signal),"
        " sum((direction = outcome)::int) FILTER (WHERE signal) / (count(*) FILTER (WHERE signal))::float8,"
        " (count(*) FILTER (WHERE signal AND direction <> outcome))"
        " / (count(*) FILTER (WHERE direction <> outcome))::float8,"
        " (count(*) FILTER (WHERE signal)) / count(*)::float8,"
        " avg((direction = outcome)::int)::float8"
        " FROM predictions GROUP BY ROLLUP (symbol) ORDER BY symbol NULLS FIRST",
    )
    for (symbol, count, *shares), part in zip(by_sql, [report.overall, *report.parts], strict=True):
        signals = part["signals"]
        assert (part["symbol"], signals["count"]) == (symbol, count)
        reported = [signals["precision"], signals["false_positive_rate"], signals["coverage"], part["accuracy"]]
        assert reported == pytest.approx(shares, abs=1e-12)
    files = {path.name for path in (tmp_path / "report").iterdir()}
    assert files == {"review.md", "review.json", "accuracy.png", "reliability.png", "coverage.png", "equity.png"}
    assert json.loads((tmp_path / "report" / "review.json").read_text())["overall"]["answers"] == 1_200
    assert "](accuracy.png)" in (tmp_path / "report" / "review.md").read_text()


def test_fallen_accuracy_ends_the_run_as_drift_and_the_command_prints_it_and_exits_0(
    engine: Engine, prefect_api: str, command_here: Command, capsys: pytest.CaptureFixture
) -> None:
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
    show_review(report)
    printed = capsys.readouterr().out
    assert "the accuracy has fallen" in printed
    assert "Which setting gives a precision of 0.60?" in printed
    done = command_here("review", "--as_of", f"{REVIEWED_AT:%Y-%m-%dT%H:%M}", "--json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["found"] == report.found


def test_failing_symbol_and_failing_summary_do_not_stop_the_rest(
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

    def refuse(*_: Any, **__: Any) -> None:
        raise BadInput("no chat is configured")

    monkeypatch.setattr(stages, "correctness", fail_for_abc)
    monkeypatch.setattr(outbox, "write", refuse)
    state, report = run_review(send_summary=True)
    assert state.is_failed()
    assert "ABC: out of order" in state.message
    assert "summary: no chat is configured" in state.message
    assert report.overall["answers"] == 600
    assert [watch.symbol for watch in report.watches] == ["XYZ"]
    assert len(report.parts) == 2
    assert "ABC failed: out of order" in page("review")


def test_unwritable_report_path_unknown_symbol_and_future_time_are_refused(
    engine: Engine, prefect_api: str, tmp_path: Path
) -> None:
    insert_answers(engine, simulated_ledger(count=5))
    (tmp_path / "taken").write_text("a file")
    for changes, reason in (
        ({"report_path": tmp_path / "taken"}, "--report_path"),
        ({"symbols": ["TYPO"]}, "--symbol TYPO: no bars or answers of it (there are those of: ABC)"),
        ({"as_of": datetime(2199, 1, 1, tzinfo=UTC)}, "is in the future"),
    ):
        state, refusal = run_review(**changes)
        assert state.is_failed()
        assert isinstance(refusal, HybridMLError)
        assert reason in str(refusal)


def test_one_summary_per_day_is_sent_to_chats_without_selected_symbols(
    engine: Engine, prefect_api: str, telegram: BotApi, monkeypatch: pytest.MonkeyPatch
) -> None:
    preferences = [{"chat_id": "43", "symbols": ["ABC"]}, {"chat_id": "44", "min_confidence": 0.9}]
    monkeypatch.setenv("TELEGRAM_CHATS", json.dumps(preferences))
    frame = simulated_ledger(count=300)
    insert_answers(engine, frame)
    signal = frame[frame["signal"]].iloc[-1]
    insert_alert(engine, "ABC", signal["bar_time"].to_pydatetime(), {"1": ("sent", 2.0)})
    for _ in range(2):
        state, _ = run_review(send_summary=True, disable_sleep_window=True)
        assert state.is_completed()
    assert sorted(message["chat_id"] for message in telegram.messages) == ["42", "44"]
    for message in telegram.messages:
        assert message["parse_mode"] == "HTML"
        assert "alerts: 1 sent" in message["text"]
    summaries = "SELECT bar_time, state FROM alerts JOIN deliveries ON alert_id = alerts.id WHERE kind = 'summary'"
    assert rows(engine, summaries) == [(datetime(2024, 3, 5, tzinfo=REVIEWED_AT.tzinfo), "sent")] * 2
    run_review(as_of=REVIEWED_AT + timedelta(days=1))
    assert len(telegram.messages) == 2


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


def test_due_outcomes_are_resolved_before_the_review(
    engine: Engine, prefect_api: str, weeks_of_bars: pd.DataFrame
) -> None:
    store_bars(engine, "ABC", weeks_of_bars.tail(3_000))
    frame = simulated_ledger(count=5)
    frame["close"] = weeks_of_bars.set_index("time")["close"].reindex(frame["bar_time"]).to_numpy()
    open_columns = ["outcome", "forward_return", "resolved_at", "counted", "close_then"]
    frame[open_columns] = frame[open_columns].astype(object)
    frame.loc[:3, open_columns] = None
    insert_answers(engine, frame.dropna(subset="close"))
    _, report = run_review()
    assert report.overall["resolved"] == len(frame.dropna(subset="close"))
    assert rows(engine, "SELECT count(*) FROM predictions WHERE outcome IS NULL") == [(0,)]
