"""The Prefect server is frozen or killed during a run: alerts and models do not wait for it.

The test holds a lock in the project's database that stops the run at a chosen place, freezes the server, and releases
the lock, so the result does not depend on timing. The printed rows have the seconds from then to the alert.
"""

import signal
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import psutil
import pytest
from prefect.client.schemas.filters import ArtifactFilter, ArtifactFilterFlowRunId
from prefect.client.schemas.objects import FlowRun
from prefect.states import Crashed
from sqlalchemy import text

from deployments.service.worker import HEARTBEAT
from hybrid_ml.config.settings import load_settings
from hybrid_ml.market.bars import clean_bars
from hybrid_ml.market.simulation import simulate_bars
from hybrid_ml.pipeline.run import Run, make_run
from hybrid_ml.schemas.requests import AnalysisRequest
from hybrid_ml.signals.gates import Answer
from hybrid_ml.store.bars import store_bars
from hybrid_ml.store.locks import symbol_locks
from tasks.load import load_model, load_training_window, load_window
from tasks.save import save_base
from tasks.train import fit_base
from tasks.validate import compare_with_champion, validate_model, validate_on_hold_out
from tests.faults.sample import matrix, sample
from tests.faults.table import FaultRows
from tests.telegram_api import BotApi
from tests.telegram_server import TOKEN, bot_api
from tests.up import SERVER, Up, wait_for

SYMBOL = "ABC"
TRAINED_AT = datetime(2024, 2, 1, 22, 20, tzinfo=UTC)
LAST_BAR = datetime(2024, 2, 2, 23, 0, tzinfo=UTC)
PERMISSIVE = {"min_confidence": 0.0, "min_prob_margin": 0.0, "max_entropy": 1.1, "fast_mode": True}
AWAKE = {"disable_sleep_window": True, "max_bar_age_minutes": 1_440}
ALERT_SECONDS = 240.0
"""An alert takes a second or two, more on a busy machine; one that waits for the server takes two minutes."""
AT_SYMBOL = "query LIKE '%pg_try_advisory_xact_lock(%' AND state = 'idle in transaction'"
AT_TABLE = "pid IN (SELECT pid FROM pg_locks WHERE relation = '{}'::regclass AND NOT granted)"
TABLES = ("alerts", "predictions", "answers_not_counted", "model_events", "model_versions", "bars")


@pytest.fixture(scope="module")
def signal_times(up: Up) -> Iterator[Iterator[datetime]]:
    """Times whose answer is DOWN or UP, by a model that has not seen them; deletes the symbol afterwards."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("NEON_CONN_STR", up.engine().url.set(drivername="postgresql").render_as_string(False))
        patch.setenv("HYBRID_ML_MODELS_DIR", up.environment["HYBRID_ML_MODELS_DIR"])
        store_bars(up.engine(), SYMBOL, clean_bars(simulate_bars(LAST_BAR, bars=9_000, missing_share=0.0)).bars)
        _train(_run(TRAINED_AT))
        yield filter(_is_sure, (TRAINED_AT + timedelta(hours=2, minutes=20 * step) for step in range(60)))
    with up.engine().begin() as connection:
        connection.execute(
            text("DELETE FROM deliveries WHERE alert_id IN (SELECT id FROM alerts WHERE symbol = 'ABC')")
        )
        for table in TABLES:
            connection.execute(text(f"DELETE FROM {table} WHERE symbol = 'ABC'"))


def _run(as_of: datetime) -> Run:
    return make_run(AnalysisRequest(symbols=[SYMBOL], as_of=as_of), load_settings(), [SYMBOL], datetime.now(UTC))


def _train(run: Run) -> None:
    """Save a model in the registry with the stages of a training, without their flow."""
    window = load_training_window.fn(SYMBOL, run, 3_000)
    model, hold_out = fit_base.fn(SYMBOL, run, window, 0, 3_000, "base", [])
    model = validate_on_hold_out.fn(SYMBOL, run, model, hold_out)
    save_base.fn(SYMBOL, model, compare_with_champion.fn(SYMBOL, run, model, hold_out))


def _is_sure(as_of: datetime) -> bool:
    run = _run(as_of)
    window, saved = load_window.fn(SYMBOL, run, ()), load_model.fn(SYMBOL, run)
    recent = validate_model.fn(SYMBOL, saved.model, window)
    answer = Answer.of(saved.model.probabilities(window.rows.latest().features)[0])
    return answer.direction != "flat" and recent.accuracy > 0.5


@pytest.fixture
def telegram() -> Iterator[BotApi]:
    with bot_api() as api:
        yield api


@pytest.fixture
def faults(request: pytest.FixtureRequest) -> FaultRows:
    return FaultRows(request.node)


def trigger(
    up: Up, telegram: BotApi, deployment: str = "analysis/analysis", wait_seconds: float = 300, **request: Any
) -> UUID:
    """Run a deployment whose alerts go to `telegram`; no bot runs that could send them."""
    settings = {
        HEARTBEAT[0]: HEARTBEAT[1],
        "TELEGRAM_BOT_TOKEN": TOKEN,
        "TELEGRAM_CHAT_ID": "42",
        "TELEGRAM_BASE_URL": telegram.base_url,
        "HYBRID_ML_SERVER_WAIT_SECONDS": str(wait_seconds),
    }
    with up.client() as client:
        deployment_id = client.read_deployment_by_name(deployment).id
        return client.create_flow_run_from_deployment(
            deployment_id, parameters={"request": request}, job_variables={"env": settings}
        ).id


@contextmanager
def stopped_at(up: Up, place: str) -> Iterator[Callable[[], None]]:
    """Runs stop at `place` until the block ends; yields a function that waits until a run is there.

    "begun": at the first database access of a run. "symbol": at the lock of its symbol. "alert": when the alert is
    written into the outbox, after all the work.
    """
    with ExitStack() as stack:
        if place == "begun":
            _lock_table(up, stack, "predictions")
            yield lambda: _wait_for_sessions(up, AT_TABLE.format("predictions"))
            return
        held = stack.enter_context(symbol_locks(up.engine(), 60))
        held.take(SYMBOL)
        if place == "symbol":
            yield lambda: _wait_for_sessions(up, AT_SYMBOL, 2)  # the session of the test and that of the run
            return

        def wait_until_at_alert() -> None:
            _wait_for_sessions(up, AT_SYMBOL, 2)
            _lock_table(up, stack, "alerts")
            held.release()
            _wait_for_sessions(up, AT_TABLE.format("alerts"))

        yield wait_until_at_alert


def _lock_table(up: Up, stack: ExitStack, table: str) -> None:
    connection = stack.enter_context(up.engine().begin())
    connection.execute(text(f"LOCK TABLE {table} IN EXCLUSIVE MODE"))


def _wait_for_sessions(up: Up, condition: str, count: int = 1) -> None:
    statement = text(f"SELECT count(*) FROM pg_stat_activity AS session WHERE {condition}")

    def is_waiting() -> bool:
        with up.engine().connect() as connection:
            return connection.execute(statement).scalar_one() >= count

    wait_for(f"a run where {condition}", is_waiting)


@contextmanager
def server_frozen(up: Up) -> Iterator[None]:
    """SIGSTOP of the server's processes, and SIGCONT at the end of the block unless they were replaced."""
    server = up.child(SERVER)
    processes = [server, *server.children(recursive=True)]
    for process in processes:
        process.suspend()
    try:
        yield
    finally:
        for process in processes:
            with suppress(psutil.NoSuchProcess):
                process.resume()


def seconds_to_alert(telegram: BotApi) -> float:
    started = time.monotonic()
    wait_for("the alert", lambda: telegram.messages, ALERT_SECONDS)
    return time.monotonic() - started


def wait_for_end(up: Up, run_id: UUID) -> FlowRun:
    """The run when the server has its final state; until then the server may not answer."""

    def final() -> FlowRun | None:
        with suppress(Exception):  # any error of a server that does not answer
            run = up.run(run_id)
            return run if run.state.is_final() else None
        return None

    return wait_for(f"the end of {run_id}", final)


def pages(up: Up, run_id: UUID) -> list[str]:
    chosen = ArtifactFilter(flow_run_id=ArtifactFilterFlowRunId(any_=[run_id]))
    with up.client() as client:
        return sorted(page.key for page in client.read_artifacts(artifact_filter=chosen))


def ledger(up: Up, moment: datetime) -> list[tuple[bool, str]]:
    """Whether the answer at `moment` was a signal, and the state of its delivery."""
    statement = text("""
        SELECT p.signal, d.state FROM predictions p JOIN alerts a ON a.prediction_id = p.id
        JOIN deliveries d ON d.alert_id = a.id WHERE p.symbol = 'ABC' AND p.as_of = :as_of""")
    with up.engine().connect() as connection:
        return [tuple(row) for row in connection.execute(statement, {"as_of": moment})]


@pytest.mark.parametrize("place", sample(["begun", "symbol", "alert"], "symbol"))
def test_alert_is_sent_at_once_while_server_is_frozen(
    up: Up, telegram: BotApi, signal_times: Iterator[datetime], faults: FaultRows, place: str
) -> None:
    moment = next(signal_times)
    with ExitStack() as frozen:
        with stopped_at(up, place) as wait_until_stopped:
            run_id = trigger(up, telegram, as_of=moment.isoformat(), **PERMISSIVE, **AWAKE)
            wait_until_stopped()
            frozen.enter_context(server_frozen(up))
        seconds = seconds_to_alert(telegram)
        wait_for("the ledger", lambda: ledger(up, moment) == [(True, "sent")])
    run = wait_for_end(up, run_id)
    assert run.state.name == "Completed", f"{run.state.name}: {run.state.message}"
    assert pages(up, run_id) == ["analysis-abc"]
    assert run.name.startswith("analysis ABC "), run.name
    assert len(telegram.messages) == 1
    faults.add(f"server frozen, run at {place!r}", "alert once; then Completed with its page", seconds)


@matrix
def test_alert_is_sent_at_once_after_server_is_killed(
    up: Up, telegram: BotApi, signal_times: Iterator[datetime], faults: FaultRows
) -> None:
    moment = next(signal_times)
    with stopped_at(up, "symbol") as wait_until_stopped:
        run_id = trigger(up, telegram, as_of=moment.isoformat(), **PERMISSIVE, **AWAKE)
        wait_until_stopped()
        up.child(SERVER).send_signal(signal.SIGKILL)
    seconds = seconds_to_alert(telegram)
    run = wait_for_end(up, run_id)
    assert run.state.name == "Completed", f"{run.state.name}: {run.state.message}"
    assert pages(up, run_id) == ["analysis-abc"]
    assert ledger(up, moment) == [(True, "sent")]
    assert len(telegram.messages) == 1
    faults.add("kill -9 of the server, run at its symbol's lock", "alert once; then Completed with its page", seconds)


@matrix
def test_flow_process_ends_when_server_never_answers(
    up: Up, telegram: BotApi, signal_times: Iterator[datetime], faults: FaultRows
) -> None:
    moment = next(signal_times)
    with ExitStack() as frozen:
        with stopped_at(up, "symbol") as wait_until_stopped:
            run_id = trigger(up, telegram, wait_seconds=3, as_of=moment.isoformat(), **PERMISSIVE, **AWAKE)
            wait_until_stopped()
            frozen.enter_context(server_frozen(up))
        seconds_to_alert(telegram)
        started = time.monotonic()
        wait_for("the end of the process", lambda: not up.flow_processes())
        seconds = time.monotonic() - started
        assert ledger(up, moment) == [(True, "sent")]
        assert "has not answered for 3 s; this run ends as Completed" in up.log.read_text()
    with up.client() as client:  # a worker would do so after 90 s
        client.set_flow_run_state(run_id, Crashed(message="ended without a final state"), force=True)
    faults.add("server frozen for good, waited for 3 s", "alert once; the process ended by itself", seconds)


@matrix
def test_model_is_saved_while_server_is_frozen(
    up: Up, telegram: BotApi, signal_times: Iterator[datetime], faults: FaultRows
) -> None:
    as_of, before = TRAINED_AT + timedelta(hours=1), _bases(up)
    with ExitStack() as frozen:
        with stopped_at(up, "symbol") as wait_until_stopped:
            requested = {"as_of": as_of.isoformat(), "symbols": [SYMBOL], "limit": 3_000}
            run_id = trigger(up, telegram, "weekly training/weekly-training", **requested)
            wait_until_stopped()
            frozen.enter_context(server_frozen(up))
        started = time.monotonic()
        wait_for("the model", lambda: _bases(up) > before)
        seconds = time.monotonic() - started
    run = wait_for_end(up, run_id)
    assert run.state.type.value == "COMPLETED", f"{run.state.name}: {run.state.message}"
    assert pages(up, run_id) == ["data-quality-abc", "training-abc"]
    faults.add("server frozen, training at its symbol's lock", "model in the registry; then its pages", seconds)


def _bases(up: Up) -> int:
    with up.engine().connect() as connection:
        return connection.execute(text("SELECT count(*) FROM model_versions WHERE symbol = 'ABC'")).scalar_one()
