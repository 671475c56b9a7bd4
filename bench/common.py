"""What the benchmarks share: options, progress, medians of interleaved runs, a report, bars, servers of their own."""

import argparse
import atexit
import json
import logging
import os
import platform
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Any

import httpx
import pandas as pd
import psycopg2
from sqlalchemy import Engine

from hybrid_ml.config.settings import cores, load_settings
from hybrid_ml.learning import fallback
from hybrid_ml.market.simulation import simulate_bars
from hybrid_ml.market.sources import read_bar_file
from hybrid_ml.store.embedded import administrator_address, for_asyncpg, start_embedded
from hybrid_ml.store.engine import connect_only, migrate, open_engine

UNTIL = datetime(2024, 12, 1, tzinfo=UTC)
"""End of the simulated bars; the simulated market begins eleven months earlier."""
NUMBERS = {
    "bytes": ",.0f",
    "MiB": ",.0f",
    "nats": "+.4f",
    "ms": ",.2f",
    "s": ",.2f",
    "x": ".2f",
    "rows/s": ",.0f",
    "": ",.0f",
}

LONG_SECONDS = 2.0
"""Of a repetition that takes longer, the end is shown."""
SHARED_DATA_DIR, SHARED_PREFECT_API_URL = "BENCH_DATA_DIR", "BENCH_PREFECT_API_URL"
"""Environment of a benchmark that the tests run: an embedded PostgreSQL and a Prefect server that are up already."""


class _Smallest(argparse.Action):
    """Sets the smallest sizes; flags after it still count."""

    def __call__(self, parser: argparse.ArgumentParser, namespace: argparse.Namespace, *_: Any) -> None:
        unknown = self.const.keys() - vars(namespace).keys()
        if unknown:
            parser.error(f"no such sizes: {', '.join(sorted(unknown))}")
        vars(namespace).update(self.const)


def options(documentation: str | None, *, smallest: Mapping[str, Any]) -> argparse.ArgumentParser:
    """A parser with the options every benchmark has; `smallest`: values of its options that a test can afford."""
    logging.getLogger("hybrid_ml").setLevel(logging.ERROR)
    parser = argparse.ArgumentParser(description=documentation, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true", help="one JSON document instead of tables")
    parser.add_argument(
        "--smallest",
        action=_Smallest,
        nargs=0,
        const=dict(smallest),
        help="the smallest sizes: only shows that it runs",
    )
    parser.add_argument("--csv_path", type=Path, help="bars of this CSV or Parquet file instead of simulated ones")
    return parser


def show_progress(what: str) -> None:
    """A line on standard error with the time in UTC: what is being done now."""
    print(f"{datetime.now(UTC):%H:%M:%S}  {what}", file=sys.stderr, flush=True)


def some_bars(count: int, csv_path: Path | None) -> pd.DataFrame:
    """The newest `count` bars of the file, or of the simulated market."""
    if csv_path is None:
        return simulate_bars(UNTIL, bars=count)
    return read_bar_file(csv_path).bars.tail(count).reset_index(drop=True)


def seconds(work: Callable[[], object]) -> float:
    """Wall time of one call."""
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def interleaved(candidates: Mapping[str, Callable[[], object]], repetitions: int) -> dict[str, float]:
    """Median seconds of each candidate.

    Every repetition runs each once, another one first each time, so that whatever else the machine
    does falls on all of them alike.
    """
    names = list(candidates)
    taken: dict[str, list[float]] = {name: [] for name in names}
    for repetition in range(repetitions):
        turn = repetition % len(names)
        for name in names[turn:] + names[:turn]:
            taken[name].append(seconds(candidates[name]))
            if taken[name][-1] > LONG_SECONDS:
                show_progress(f"{name}: {taken[name][-1]:.1f} s, repetition {repetition + 1} of {repetitions}")
    return {name: statistics.median(values) for name, values in taken.items()}


def cross_check(holds: bool, what: str) -> None:
    """End with exit code 1 when `what` is not so: a fast wrong answer is worth nothing."""
    if not holds:
        raise SystemExit(f"cross-check failed: {what}")


@dataclass(frozen=True)
class Line:
    """One number with its unit ("x" is a ratio), and the most it should be."""

    name: str
    value: float
    unit: str
    at_most: float | None = None

    @property
    def met(self) -> bool | None:
        return None if self.at_most is None else self.value <= self.at_most

    @property
    def shown(self) -> str:
        unit = "" if self.unit == "x" else f" {self.unit}"
        return f"{self.value:{NUMBERS.get(self.unit, '.3g')}}{unit}".rstrip()

    def __str__(self) -> str:
        if self.at_most is None:
            return self.shown
        return f"{self.shown} (target <= {self.at_most:g}): {'ok' if self.met else 'missed'}"


@dataclass
class Report:
    """Lines in the order they are read, then tables; printed as text or as one JSON document."""

    title: str
    lines: list[Line] = field(default_factory=list)
    tables: dict[str, list[dict[str, Any]]] = field(default_factory=dict)

    def add(self, name: str, value: float, unit: str, at_most: float | None = None) -> None:
        self.lines.append(Line(name, value, unit, at_most))

    def document(self) -> dict[str, Any]:
        """What `docs/make_benchmarks.py` renders, with when and where it was measured."""
        program, flags = Path(sys.argv[0]).name, [flag for flag in sys.argv[1:] if flag != "--json"]
        return {
            "benchmark": self.title,
            "command": " ".join(["python", f"bench/{program}", *flags]),
            "measured": f"{datetime.now(UTC):%Y-%m-%d}",
            "cores": cores(),
            "load_average": round(os.getloadavg()[0], 1),
            "python": platform.python_version(),
            "lines": [{**vars(line), "shown": line.shown, "met": line.met} for line in self.lines],
            "tables": self.tables,
        }

    def show(self, *, as_json: bool) -> None:
        if as_json:
            print(json.dumps(self.document(), indent=2))
            return
        print(self.title)
        width = max((len(line.name) for line in self.lines), default=0)
        for line in self.lines:
            print(f"  {line.name:<{width}}  {line}")
        for name, rows in self.tables.items():
            print(f"\n{name}")
            shown = pd.DataFrame(rows).to_string(index=False, na_rep="-", float_format=lambda value: f"{value:,.4g}")
            print("\n".join(f"  {row}" for row in shown.splitlines()))


@dataclass(frozen=True)
class TemporaryStore:
    """An embedded PostgreSQL and a models folder that are gone when the benchmark ends."""

    folder: Path

    @classmethod
    def make(cls) -> "TemporaryStore":
        folder = Path(tempfile.mkdtemp(prefix="hybrid-ml-bench-"))
        # Registered before the server's own ending, therefore done after it.
        atexit.register(shutil.rmtree, folder, ignore_errors=True)
        return cls(folder)

    def use(self) -> Engine:
        """Make this the store that settings lead to: no other database, models folder or chat is touched."""
        os.environ.update(
            NEON_CONN_STR=_shared_database(self.folder.name.replace("-", "_")),
            TELEGRAM_BOT_TOKEN="",
            TELEGRAM_CHAT_ID="",
            HYBRID_ML_SYMBOLS="",
            HYBRID_ML_NUM_THREADS="1",
            HYBRID_ML_DATA_DIR=str(self.folder / "data"),
            HYBRID_ML_MODELS_DIR=str(self.folder / "models"),
        )
        return open_engine(load_settings())

    def checkpoint(self) -> None:
        """Write out what has changed, so that no later statement pays for it; the service's own role may not."""
        data_dir = Path(os.environ.get(SHARED_DATA_DIR, self.folder / "data"))
        with closing(psycopg2.connect(administrator_address(data_dir))) as connection:
            connection.autocommit = True
            connection.cursor().execute("CHECKPOINT")


def accept_every_accuracy() -> None:
    """A model that happens to be poor would be trained again."""
    vars(fallback).update(MINIMUM_RECENT_ACCURACY=0.0)


@cache
def _shared_database(name: str) -> str:
    """Address of a database with the schema on the shared server; empty where there is none."""
    if SHARED_DATA_DIR not in os.environ:
        return ""
    os.environ["NEON_CONN_STR"] = address = start_embedded(Path(os.environ[SHARED_DATA_DIR]), name)
    migrate(connect_only(load_settings()))
    return address


@contextmanager
def prefect_server(folder: Path) -> Iterator[None]:
    """A Prefect server on an embedded PostgreSQL in `folder`; flows that run in the block report to it."""
    from prefect.settings import PREFECT_API_URL, temporary_settings

    shared = os.environ.get(SHARED_PREFECT_API_URL)
    if shared:
        with temporary_settings({PREFECT_API_URL: shared}):
            yield
        return
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    environment = {
        **os.environ,
        "PREFECT_HOME": str(folder / "prefect"),
        "PREFECT_SERVER_DATABASE_CONNECTION_URL": for_asyncpg(start_embedded(folder / "data", "prefect", ("pg_trgm",))),
        "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
    }
    url = f"http://127.0.0.1:{port}/api"
    command = [sys.executable, "-m", "prefect", "server", "start", "--host", "127.0.0.1", "--port", str(port)]
    show_progress("starting a Prefect server")
    with (folder / "server.log").open("w") as log:
        server = subprocess.Popen(command, env=environment, stdout=log, stderr=log)
    try:
        _wait_until_healthy(url)
        with temporary_settings({PREFECT_API_URL: url}):
            yield
    finally:
        server.terminate()
        server.wait(30)


def _wait_until_healthy(url: str) -> None:
    end = time.monotonic() + 120
    while time.monotonic() < end:
        try:
            if httpx.get(f"{url}/health", timeout=2).status_code == 200:
                return
        except httpx.HTTPError:
            time.sleep(0.2)
    raise SystemExit(f"no Prefect server answers at {url}")
