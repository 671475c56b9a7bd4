"""Growth: what an analysis leaves behind in memory and on the disk, run after run.

Measured: analyses of simulated symbols, one right after the other and each ten minutes of the market on, under
`hybrid-ml up` with everything of its own (server, worker, embedded PostgreSQL, folders) and its server settings: bytes
that each run adds to Prefect's database and to the project's, and memory of the processes (proportional set size, PSS).
The floor is a bare Prefect flow on the same server with as many task runs that do nothing, begun from Python: no
deployment, no page, no log of its own. How to read it: the last third of the runs against the first says whether growth
goes on; sizes are after VACUUM, so room that is free counts as taken. Nothing is old enough to be pruned meanwhile, so
what is printed is growth before retention.
"""

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import psutil
from common import Report, cross_check, options, show_progress
from sqlalchemy import create_engine, text

from hybrid_ml.market.bars import clean_bars
from hybrid_ml.market.simulation import simulate_bars
from hybrid_ml.store.bars import store_bars
from hybrid_ml.store.embedded import administrator_address

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))  # the tests know how to start all of it

from tests.up import AWAKE, Up, everything_up  # noqa: E402

TARGET_BYTES = 300_000
"""Of Prefect's database, a run of one symbol."""
UNTIL, BARS = datetime.now(UTC).replace(second=0, microsecond=0), 12_000
STEP, MOST_RUNS = timedelta(minutes=10), 600
"""The newest half of the bars are moments to judge; what is before them the first run trains on."""
TELL_RUNS = 20
SETTLE_SECONDS = 8.0
"""Until the server has written what it was told (it writes every five seconds)."""
PROCESSES = {
    "worker": "hybrid_ml.cli worker",
    "server": "deployments.service.prefect_server",
    "up": "hybrid-ml up",
}
TABLES = (
    *("events", "event_resources", "task_run", "task_run_state", "flow_run", "flow_run_state", "log", "artifact"),
    "artifact_collection",
)
BARE = """
import sys
from prefect import flow, task

@task
def nothing(number):
    return number

@flow
def bare(tasks):
    for number in range(tasks):
        nothing(number)

for _ in range(int(sys.argv[1])):
    bare(int(sys.argv[2]))
"""


@dataclass(frozen=True)
class Moment:
    """What there is now, in bytes: databases, tables of Prefect's, memory of each process."""

    prefect: int
    project: int
    tables: dict[str, int]
    memory: dict[str, int]


def now(up: Up) -> Moment:
    time.sleep(SETTLE_SECONDS)
    tables = {name: f"SELECT pg_total_relation_size('{name}')" for name in TABLES}
    whole = {"whole": "SELECT pg_database_size(current_database())"}
    prefect = _sizes(administrator_address(up.data_dir, "prefect"), tables | whole)
    project = _sizes(administrator_address(up.data_dir, "hybrid_ml"), whole)
    return Moment(prefect.pop("whole"), project["whole"], prefect, memory(up))


def _sizes(address: str, questions: dict[str, str]) -> dict[str, int]:
    engine = create_engine(address.replace("postgresql://", "postgresql+psycopg2://"), isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        connection.execute(text("VACUUM"))
        connection.execute(text("CHECKPOINT"))
        found = {name: connection.execute(text(question)).scalar_one() for name, question in questions.items()}
    engine.dispose()
    return found


def memory(up: Up) -> dict[str, int]:
    """PSS by process; flow processes have ended."""
    taken = dict.fromkeys(PROCESSES, 0)
    parent = psutil.Process(up.process.pid)
    for process in (parent, *parent.children(recursive=True)):
        try:
            words, bytes_taken = " ".join(process.cmdline()), process.memory_full_info().pss
        except psutil.NoSuchProcess:
            continue
        for name in [name for name, part in PROCESSES.items() if part in words][:1]:
            taken[name] += bytes_taken
    return taken


def moments_to_judge() -> Iterator[str]:
    """Every ten minutes until now."""
    for number in reversed(range(MOST_RUNS)):
        yield (UNTIL - number * STEP).isoformat()


def analyses(up: Up, count: int, symbols: list[str], as_of: Iterator[str]) -> int:
    """Run so many, one after the other; how many task runs the last one had."""
    with up.client() as client:
        deployment = client.read_deployment_by_name("analysis/analysis").id
        for number in range(count):
            if number % TELL_RUNS == 0:
                show_progress(f"{number} of {count} analyses of {len(symbols)} symbols")
            parameters = {"request": {**AWAKE, "symbols": symbols, "as_of": next(as_of)}}
            run = client.create_flow_run_from_deployment(deployment, parameters=parameters)
            while not (run.state and run.state.is_final()):
                time.sleep(0.1)
                run = client.read_flow_run(run.id)
            cross_check(run.state.type.value == "COMPLETED", f"{run.name}: {run.state.name}, {run.state.message}")
    time.sleep(SETTLE_SECONDS)
    with up.prefect_engine().connect() as connection:
        counted = text("SELECT count(*) FROM task_run WHERE flow_run_id = :run")
        return int(connection.execute(counted, {"run": str(run.id)}).scalar_one())


def bare_flows(up: Up, count: int, tasks: int) -> None:
    """As many runs of a flow whose task runs do nothing, in one process."""
    show_progress(f"{count} runs of a bare flow with {tasks} task runs")
    access = {"PREFECT_API_URL": up.api_url, "PREFECT_API_AUTH_STRING": up.authentication}
    command = [sys.executable, "-c", BARE, str(count), str(tasks)]
    subprocess.run(command, env=up.environment | access, check=True, capture_output=True)


def prepare(up: Up, symbols: list[str]) -> None:
    """Bars for each symbol; no schedule comes between the runs."""
    for seed, symbol in enumerate(symbols):
        store_bars(up.engine(), symbol, clean_bars(simulate_bars(UNTIL, bars=BARS, seed=seed)).bars)
    with up.client() as client:
        for name in ("analysis/analysis", "weekly training/weekly-training", "review/review"):
            client.pause_deployment(client.read_deployment_by_name(name).id)


def report_of(moments: list[Moment], third: int, tasks: int, floor: float, as_json: bool) -> None:
    """`moments`: before, after one third, after two, after all; `floor`: bytes a run of the bare flow."""
    report, runs = Report("growth under `hybrid-ml up`"), 3 * third

    def per_run(value: Callable[[Moment], int], first: int = 0, last: int = 3) -> float:
        return (value(moments[last]) - value(moments[first])) / (runs * (last - first) / 3)

    prefect = per_run(lambda moment: moment.prefect)
    report.add("analyses", runs, "")
    report.add("task runs of an analysis", tasks, "")
    report.add("Prefect's database, a run", prefect, "bytes", TARGET_BYTES)
    report.add("against a bare flow with as many task runs", prefect / floor, "x")
    report.add("the last third against the first", _thirds(lambda moment: moment.prefect, per_run), "x")
    report.add("the project's database, a run", per_run(lambda moment: moment.project), "bytes")
    report.add("memory of worker, a run of the first third", per_run(_memory("worker"), 0, 1), "bytes")
    report.add("memory of worker, a run of the last third", per_run(_memory("worker"), 2, 3), "bytes")
    report.tables["memory, MiB"] = [
        {
            "process": name,
            "before": moments[0].memory[name] / 2**20,
            "after": moments[-1].memory[name] / 2**20,
            "bytes a run, first third": per_run(_memory(name), 0, 1),
            "last third": per_run(_memory(name), 2, 3),
        }
        for name in PROCESSES
    ]
    report.tables["bytes a run in Prefect's tables, indexes included"] = [
        {"table": name, "bytes": per_run(lambda moment, name=name: moment.tables[name])}  # type: ignore[misc]
        for name in TABLES
    ]
    report.show(as_json=as_json)


def _memory(name: str) -> Callable[[Moment], int]:
    return lambda moment: moment.memory[name]


def _thirds(value: Callable[[Moment], int], per_run: Callable[..., float]) -> float:
    return per_run(value, 2, 3) / per_run(value, 0, 1)


def main() -> None:
    parser = options(__doc__, smallest={"runs": 3, "bare_runs": 1, "warm_up_runs": 1})
    parser.add_argument("--warm_up_runs", type=int, default=5, help="before the first number")
    parser.add_argument("--runs", type=int, default=300, help="analyses, in three thirds")
    parser.add_argument("--symbols", type=int, default=1)
    parser.add_argument("--bare_runs", type=int, default=50)
    chosen: Any = parser.parse_args()
    symbols, third = [f"SIM{number}" for number in range(chosen.symbols)], max(1, chosen.runs // 3)
    cross_check(chosen.runs + chosen.warm_up_runs <= MOST_RUNS, f"no more than {MOST_RUNS - chosen.warm_up_runs} runs")
    os.environ["HYBRID_ML_NUM_THREADS"] = "1"
    folder = Path(tempfile.mkdtemp(prefix="hybrid-ml-bench-"))
    show_progress("starting `hybrid-ml up`")
    with everything_up(folder) as up:
        prepare(up, symbols)
        as_of = moments_to_judge()
        tasks = analyses(up, chosen.warm_up_runs, symbols, as_of)
        before = now(up)
        bare_flows(up, chosen.bare_runs, tasks)
        moments = [now(up)]
        floor = (moments[0].prefect - before.prefect) / chosen.bare_runs
        for _ in range(3):
            analyses(up, third, symbols, as_of)
            moments.append(now(up))
    report_of(moments, third, tasks, floor, chosen.json)


if __name__ == "__main__":
    main()
