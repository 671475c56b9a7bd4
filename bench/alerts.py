"""Alerts: how long from a committed prediction to Telegram's door, and how long 100,000 outcomes take.

Measured: (1) whole analyses in Prefect, its engine and server included, of simulated bars with bounds that
any direction passes, against a Bot API in a process of its own on loopback: the time from the return of the
COMMIT that wrote prediction and alert to the first byte of the request that carries words and picture.
Beside it, as a floor, the same bytes posted on an open connection and nothing else. (2) One statement that
resolves 100,000 predictions due at once, on 400,000 bars, beside a bare UPDATE of one column of as many rows.
How to read it: the wait is what a person loses against the fastest possible program; Telegram's own way to
the phone comes on top, and so does the network.
"""

import json
import logging
import os
import statistics
import subprocess
import sys
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
from common import (
    UNTIL,
    Report,
    TemporaryStore,
    accept_every_accuracy,
    cross_check,
    options,
    prefect_server,
    seconds,
    show_progress,
    some_bars,
)
from sqlalchemy import Engine, text
from sqlalchemy.engine.default import DefaultDialect

from flows.analysis import analysis
from flows.weekly_training import weekly_training
from hybrid_ml.schemas.requests import AnalysisRequest, TrainingRequest
from hybrid_ml.store import outbox, predictions
from hybrid_ml.store.bars import store_bars

ROOT = Path(__file__).resolve().parents[1]
SYMBOL, TOKEN = "BENCH", "123456:not-a-real-token"
ANY = {"min_confidence": 0.0, "min_prob_margin": 0.0, "max_entropy": 1.1, "fast_mode": True}
GATES, FIRST_BAR, BARS_OF_A_PREDICTION = 6, datetime(2024, 1, 1, tzinfo=UTC), 4
WAIT_MS, RESOLVE_SECONDS = 50, 2
LOG = "requests.jsonl"


class Commits:
    """When the COMMIT of each transaction that wrote an alert had returned, seconds since 1970."""

    def __init__(self) -> None:
        self.at: list[float] = []
        wrote, write, commit = [False], outbox.write, DefaultDialect.do_commit

        def writing(*given: Any, **named: Any) -> bool:
            wrote[0] = write(*given, **named)
            return wrote[0]

        def committing(dialect: Any, connection: Any) -> None:
            commit(dialect, connection)
            if wrote[0]:
                wrote[0] = False
                self.at.append(time.time())

        outbox.write, DefaultDialect.do_commit = writing, committing


def waits_ms(count: int, rows_to_train: int, base_url: str, folder: Path) -> tuple[list[float], list[float]]:
    """Milliseconds of `count` alerts from commit to request, and of the same bytes posted bare."""
    commits, begin, log = Commits(), UNTIL - timedelta(hours=20), folder / LOG
    with prefect_server(folder):
        show_progress(f"training on {rows_to_train:,} rows")
        weekly_training(TrainingRequest(symbols=[SYMBOL], as_of=begin, limit=rows_to_train))
        for cycle in range(110):
            if len(commits.at) == count:
                break
            show_progress(f"analysis {cycle + 1}; {len(commits.at)} of {count} alerts so far")
            os.environ["TELEGRAM_CHAT_ID"] = str(100 + cycle)  # a chat takes one message a second
            moment = begin + timedelta(minutes=10 * cycle)
            analysis(AnalysisRequest(symbols=[SYMBOL], as_of=moment, disable_sleep_window=True, **ANY))
    sent = {row["number"]: row for row in map(json.loads, log.read_text().splitlines()) if row["method"] == "sendPhoto"}
    rows = list(sent.values())
    cross_check(len(rows) == len(commits.at) == count, f"{len(rows)} requests for {len(commits.at)} alerts")
    cross_check(all(row["picture_is_png"] for row in rows), "a picture in each")
    return (
        [1000 * (row["at"] - at) for row, at in zip(rows, commits.at, strict=True)],
        posted_ms(base_url, rows[0]["picture_bytes"], count, log),
    )


def posted_ms(base_url: str, size: int, count: int, log: Path) -> list[float]:
    """Milliseconds from a bare call to the request's arrival."""
    picture, begun = b"\x89PNG\r\n\x1a\n" + os.urandom(size - 8), []
    with httpx.Client() as client:
        for number in range(count + 1):
            begun.append(time.time())
            fields = {"chat_id": str(10_000 + number), "caption": "bare"}
            client.post(f"{base_url}{TOKEN}/sendPhoto", data=fields, files={"photo": picture})
    rows = [row for row in map(json.loads, log.read_text().splitlines()) if row["text"] == "bare"]
    return [1000 * (row["at"] - at) for row, at in zip(rows[1:], begun[1:], strict=True)]  # the first one connects


def resolve_seconds(engine: Engine, due: int, repetitions: int) -> tuple[float, float]:
    """Median seconds of resolving `due` predictions, and of a bare UPDATE of as many rows."""
    show_progress(f"{due:,} outcomes, {repetitions} times")
    end = FIRST_BAR + timedelta(minutes=BARS_OF_A_PREDICTION * due)
    gates = json.dumps(
        [{"gate": "confidence", "value": 0.5, "bound": 0.6, "passed": False, "meaning": 40 * "x"}] * GATES
    )
    with engine.begin() as connection:
        connection.execute(
            text(
                "INSERT INTO bars SELECT 'DUE', t, 100, 101, 99, 100 * exp(0.001 * random()), 1 FROM generate_series("
                "CAST(:first AS timestamptz), CAST(:end AS timestamptz), '1 minute') AS t "
                "WHERE extract(minute FROM t) <> 33"
            ),
            {"first": FIRST_BAR, "end": end},
        )
        connection.execute(
            text(
                "INSERT INTO predictions (symbol, bar_time, as_of, close, p_down, p_flat, p_up, threshold, direction, "
                "confidence, model_version, preset, gates, signal, fell_back) "
                "SELECT 'DUE', time, time, close, 0.3, 0.3, 0.4, 0.0003, 'up', 0.4, "
                "'v' || extract(epoch FROM time)::bigint / 600, 'balanced', "
                "CAST(:gates AS jsonb), random() < 0.01, false FROM bars WHERE symbol = 'DUE' "
                "ORDER BY time LIMIT :due"
            ),
            {"gates": gates, "due": due},
        )
    taken: list[float] = []
    floor: list[float] = []
    for _ in range(repetitions):
        taken.append(seconds(lambda: resolve(engine, due)))
        afresh(engine, "outcome = NULL, forward_return = NULL, resolved_at = NULL, counted = NULL, close_then = NULL")
        floor.append(seconds(lambda: bare(engine)))
        afresh(engine, "resolved_at = NULL")
    return statistics.median(taken), statistics.median(floor)


def resolve(engine: Engine, due: int) -> None:
    with engine.begin() as connection:
        done = predictions.resolve(connection, UNTIL, 30)
    cross_check(done == due, f"{done:,} resolved")


def bare(engine: Engine) -> None:
    with engine.begin() as connection:
        connection.execute(text("UPDATE predictions SET resolved_at = now() WHERE symbol = 'DUE'"))


def afresh(engine: Engine, changes: str) -> None:
    """As before, on pages as full as before."""
    with engine.begin() as connection:
        connection.execute(text(f"UPDATE predictions SET {changes} WHERE symbol = 'DUE'"))
    with engine.connect() as connection:
        vacuuming = connection.execution_options(isolation_level="AUTOCOMMIT")
        vacuuming.execute(text("VACUUM FULL ANALYZE predictions"))


def main() -> None:
    parser = options(__doc__, smallest={"alerts": 2, "due": 1_000, "repetitions": 1, "rows": 2_000})
    parser.add_argument("--due", type=int, default=100_000, help="predictions that are due at once")
    parser.add_argument("--rows", type=int, default=5_000, help="rows the model of the alerts is trained on")
    parser.add_argument("--alerts", type=int, default=30)
    parser.add_argument("--repetitions", type=int, default=5)
    chosen = parser.parse_args()
    store = TemporaryStore.make()
    engine = store.use()
    accept_every_accuracy()
    logging.getLogger("prefect").setLevel(logging.CRITICAL)
    resolving, updating = resolve_seconds(engine, chosen.due, chosen.repetitions)
    with engine.begin() as connection:
        connection.execute(text("DELETE FROM predictions"))
        connection.execute(text("DELETE FROM bars"))
    store_bars(engine, SYMBOL, some_bars(12_000, chosen.csv_path))
    command = [sys.executable, "-m", "tests.telegram_server", "--log", str(store.folder / LOG)]
    server = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)
    try:
        base_url = server.stdout.readline().split()[0].partition("=")[2]
        os.environ.update(TELEGRAM_BOT_TOKEN=TOKEN, TELEGRAM_BASE_URL=base_url)
        waited, posted = waits_ms(chosen.alerts, chosen.rows, base_url, store.folder)
    finally:
        server.kill()
    report = Report("alerts")
    report.add("committed to request, median", statistics.median(waited), "ms", WAIT_MS)
    report.add("committed to request, the slowest of ten", statistics.quantiles(waited, n=10)[-1], "ms")
    report.add("the same bytes posted bare, median", statistics.median(posted), "ms")
    report.add("committed to request against bare", statistics.median(waited) / statistics.median(posted), "x")
    report.add(f"{chosen.due:,} outcomes in one statement", resolving, "s", RESOLVE_SECONDS)
    report.add("against a bare UPDATE of as many rows", resolving / updating, "x")
    report.show(as_json=chosen.json)


if __name__ == "__main__":
    main()
