"""What the benchmarks share: options, medians of interleaved runs, a plain report, bars, a temporary store."""

import argparse
import atexit
import json
import logging
import os
import shutil
import statistics
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pandas as pd
from sqlalchemy import Engine

from hybrid_ml.config.settings import load_settings
from hybrid_ml.market.simulation import simulate_bars
from hybrid_ml.market.sources import read_bar_file
from hybrid_ml.store.engine import open_engine

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

logging.getLogger("hybrid_ml").setLevel(logging.ERROR)


def options(documentation: str | None) -> argparse.ArgumentParser:
    """A parser with the options every benchmark has."""
    parser = argparse.ArgumentParser(description=documentation, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true", help="one JSON document instead of tables")
    parser.add_argument("--csv_path", type=Path, help="bars of this CSV or Parquet file instead of simulated ones")
    return parser


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

    def __str__(self) -> str:
        unit = "" if self.unit == "x" else f" {self.unit}"
        text = f"{self.value:{NUMBERS.get(self.unit, '.3g')}}{unit}"
        return text if self.met is None else f"{text} (target <= {self.at_most:g}): {'ok' if self.met else 'missed'}"


@dataclass
class Report:
    """Lines in the order they are read, then tables; printed as text or as one JSON document."""

    title: str
    lines: list[Line] = field(default_factory=list)
    tables: dict[str, list[dict[str, Any]]] = field(default_factory=dict)

    def add(self, name: str, value: float, unit: str, at_most: float | None = None) -> None:
        self.lines.append(Line(name, value, unit, at_most))

    def show(self, *, as_json: bool) -> None:
        if as_json:
            lines = [{**vars(line), "met": line.met} for line in self.lines]
            print(json.dumps({"benchmark": self.title, "lines": lines, "tables": self.tables}, indent=2))
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
            NEON_CONN_STR="",
            TELEGRAM_BOT_TOKEN="",
            TELEGRAM_CHAT_ID="",
            HYBRID_ML_SYMBOLS="",
            HYBRID_ML_NUM_THREADS="1",
            HYBRID_ML_DATA_DIR=str(self.folder / "data"),
            HYBRID_ML_MODELS_DIR=str(self.folder / "models"),
        )
        return open_engine(load_settings())
