"""A file of bars: into PostgreSQL by way of every check, beside a bare COPY of the file, in rows a second and memory.

Each in a process of its own, whose peak memory is printed. Ours: `load_rows` and `load_bars` as `hybrid-ml backfill`
calls them, with all that the command imports, which is printed too. Floor: COPY of the same file by psycopg2 alone into
an empty table with the same key, which checks, compares and rejects nothing. How to read it: ratio 2 means that a load
takes twice as long, or twice the memory, as the bare COPY. The values are those of the simulated market, repeated.
Linux only: the peak that other systems state includes that of the parent.
"""

import json
import os
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pandas as pd
from common import UNTIL, Report, TemporaryStore, cross_check, options, show_progress, some_bars
from sqlalchemy import text

from hybrid_ml.market.bars import BAR_COLUMNS

MOST_MIB = 300
SIMULATED = 400_000
"""Rows after which the values repeat."""
BEGIN = """
import json, sys, time
from pathlib import Path

def memory_mib(name):
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(name)) / 1024
"""
LOAD = """
from datetime import UTC, datetime
import flows.backfill, hybrid_ml.cli.run_commands
from hybrid_ml.config.settings import load_settings
from hybrid_ml.learning.scaling import FULL_ROW_LIMIT
from hybrid_ml.market.file_limits import FileLimits
from hybrid_ml.market.sources import load_rows
from hybrid_ml.store.engine import open_engine
from hybrid_ml.store.loading import load_bars

engine, before, started = open_engine(load_settings()), memory_mib("VmRSS"), time.perf_counter()
rows = load_rows(Path(sys.argv[1]), FileLimits(), now=datetime.now(UTC))
count = load_bars(engine, "BENCH", rows, FULL_ROW_LIMIT).rows_new
"""
COPY = """
import psycopg2

with psycopg2.connect(sys.argv[2]) as connection, connection.cursor() as cursor, open(sys.argv[1], "rb") as file:
    before, started = memory_mib("VmRSS"), time.perf_counter()
    cursor.copy_expert("COPY bare_bars (time, open, high, low, close, volume) FROM STDIN (FORMAT CSV, HEADER)", file)
    count = cursor.rowcount
"""
END = """
took = time.perf_counter() - started
print(json.dumps({"rows": count, "seconds": took, "before": before, "peak": memory_mib("VmHWM")}))
"""
TABLE = "CREATE TABLE bare_bars (LIKE bars INCLUDING ALL); ALTER TABLE bare_bars ALTER symbol SET DEFAULT 'BENCH'"
DIFFERENT = """
    SELECT count(*) FROM bars FULL JOIN bare_bars USING (symbol, time)
    WHERE (bars.open, bars.high, bars.low, bars.close, bars.volume) IS DISTINCT FROM
        (bare_bars.open, bare_bars.high, bare_bars.low, bare_bars.close, bare_bars.volume)
"""


def write_file(path: Path, bars: pd.DataFrame, count: int) -> None:
    """A CSV of `count` minutes that end before UNTIL, with the values of `bars` again and again."""
    times = pd.date_range(end=UNTIL, periods=count + 1, freq="min", unit="s")
    for first in range(0, count, len(bars)):
        part = bars[BAR_COLUMNS].head(count - first).copy()
        part["time"] = times[first + np.arange(len(part))]
        part.to_csv(path, mode="a", header=not first, index=False, float_format="%.6f")


def measured(program: str, *arguments: str) -> dict[str, float]:
    """Rows, seconds, and the memory in MiB before the first row and at most, of a process of its own."""
    command = [sys.executable, "-c", BEGIN + program + END, *arguments]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    found: dict[str, float] = json.loads(done.stdout)
    return found


def main() -> None:
    parser = options(__doc__, smallest={"bars": 3_000})
    parser.add_argument("--bars", type=int, default=5_000_000, help="rows of the file")
    chosen = parser.parse_args()
    store = TemporaryStore.make()
    engine = store.use()
    os.environ["PYTHONPATH"] = str(Path(__file__).resolve().parents[1])
    with engine.begin() as connection:
        connection.execute(text(TABLE))
    with TemporaryDirectory(prefix="hybrid-ml-bench-") as folder:
        path = Path(folder) / "bars.csv"
        show_progress(f"writing a file of {chosen.bars:,} rows")
        write_file(path, some_bars(min(chosen.bars, SIMULATED), chosen.csv_path), chosen.bars)
        store.checkpoint()
        show_progress(f"loading its {path.stat().st_size / 1e6:,.1f} MB")
        ours = measured(LOAD, str(path))
        store.checkpoint()
        show_progress("copying the same")
        address = engine.url.set(drivername="postgresql").render_as_string(hide_password=False)
        floor = measured(COPY, str(path), address)
    cross_check(ours["rows"] == floor["rows"] == chosen.bars, "both store every row")
    with engine.connect() as connection:
        cross_check(connection.execute(text(DIFFERENT)).scalar_one() == 0, "both tables hold the same bars")
    report = Report(f"backfill: a file of {chosen.bars:,} rows, once each")
    report.add("load", chosen.bars / ours["seconds"], "rows/s")
    report.add("bare COPY", chosen.bars / floor["seconds"], "rows/s")
    report.add("ratio, time", ours["seconds"] / floor["seconds"], "x")
    report.add("peak memory of the load", ours["peak"], "MiB", MOST_MIB)
    report.add("of it before the first row", ours["before"], "MiB")
    report.add("peak memory of the bare COPY", floor["peak"], "MiB")
    report.add("ratio, peak memory", ours["peak"] / floor["peak"], "x")
    report.show(as_json=chosen.json)


if __name__ == "__main__":
    main()
