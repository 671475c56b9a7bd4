"""Bars: into PostgreSQL and back, against the plainest way of doing it.

Measured: `store_bars` (encoding, COPY, upsert) into an empty table, then again with the very same
bars, which must write nothing. Floor: a bare COPY of the same rows, as CSV text prepared
beforehand, into an empty table with the same key. Then `recent_bars` against a plain SELECT with
`fetchall` and a DataFrame. How to read it: ratio 2 means that storing takes twice as long as the
bare COPY; under 1 it is faster. Tables are emptied before each load and all take turns.
"""

import io
import statistics
from datetime import datetime

import pandas as pd
from common import Report, TemporaryStore, cross_check, interleaved, options, seconds, show_progress, some_bars
from sqlalchemy import Engine, text

from hybrid_ml.market.bars import BAR_COLUMNS
from hybrid_ml.store.bars import recent_bars, store_bars

SYMBOL = "BENCH"
TARGET = 2.0
DIFFERENT = "SELECT count(*) FROM ((TABLE bars EXCEPT TABLE bare_bars) UNION ALL (TABLE bare_bars EXCEPT TABLE bars)) d"


def bare_copy(engine: Engine, csv: str) -> None:
    """One COPY of prepared text in one transaction."""
    with engine.begin() as connection:
        cursor = connection.connection.cursor()
        columns = ", ".join(["symbol", *BAR_COLUMNS])
        cursor.copy_expert(f"COPY bare_bars ({columns}) FROM STDIN WITH (FORMAT CSV)", io.StringIO(csv))


def plain_select(engine: Engine, until: datetime, count: int) -> pd.DataFrame:
    """What `recent_bars` returns, by way of Python objects."""
    with engine.connect() as connection:
        cursor = connection.connection.cursor()
        cursor.execute(
            f"SELECT {', '.join(BAR_COLUMNS)} FROM bars WHERE symbol = %s AND time <= %s ORDER BY time DESC LIMIT %s",
            (SYMBOL, until, count),
        )
        return pd.DataFrame(cursor.fetchall(), columns=BAR_COLUMNS).iloc[::-1].reset_index(drop=True)


def read_back(engine: Engine, until: datetime, count: int) -> pd.DataFrame:
    with engine.connect() as connection:
        return recent_bars(connection, SYMBOL, until, count)


def run(engine: Engine, statement: str) -> None:
    with engine.begin() as connection:
        connection.execute(text(statement))


def loading(store: TemporaryStore, engine: Engine, bars: pd.DataFrame, repetitions: int) -> dict[str, float]:
    """Median seconds of the first load, the second one and the bare COPY."""
    csv = bars[BAR_COLUMNS].assign(symbol=SYMBOL)[["symbol", *BAR_COLUMNS]].to_csv(header=False, index=False)
    run(engine, "CREATE TABLE bare_bars (LIKE bars INCLUDING ALL)")
    taken: dict[str, list[float]] = {"first": [], "second": [], "bare": []}
    written: list[int] = []

    def load_bars() -> None:
        written.append(store_bars(engine, SYMBOL, bars).total)

    def ours() -> None:
        run(engine, "TRUNCATE bars")
        for load in ("first", "second"):
            store.checkpoint()
            taken[load].append(seconds(load_bars))

    def bare() -> None:
        run(engine, "TRUNCATE bare_bars")
        store.checkpoint()
        taken["bare"].append(seconds(lambda: bare_copy(engine, csv)))

    for repetition in range(repetitions):
        show_progress(f"loading {len(bars):,} bars, repetition {repetition + 1} of {repetitions}")
        for load in (ours, bare) if repetition % 2 else (bare, ours):
            load()
    cross_check(written == [len(bars), 0] * repetitions, "the first load writes every bar and the second none")
    with engine.connect() as connection:
        cross_check(connection.execute(text(DIFFERENT)).scalar_one() == 0, "both tables hold the same bars")
    return {name: statistics.median(values) for name, values in taken.items()}


def main() -> None:
    parser = options(__doc__, smallest={"bars": 3_000, "read": 1_000, "repetitions": 1})
    parser.add_argument("--bars", type=int, default=300_000, help="bars to load")
    parser.add_argument("--read", type=int, default=90_000, help="bars to read back")
    parser.add_argument("--repetitions", type=int, default=5)
    chosen = parser.parse_args()
    bars = some_bars(chosen.bars, chosen.csv_path)
    store = TemporaryStore.make()
    engine = store.use()
    taken = loading(store, engine, bars, chosen.repetitions)

    until = bars["time"].iloc[-1].to_pydatetime()
    ours, plain = read_back(engine, until, chosen.read), plain_select(engine, until, chosen.read)
    cross_check(ours.equals(plain.astype(ours.dtypes.to_dict())), "both ways of reading give the same bars")
    reading = interleaved(
        {
            "ours": lambda: read_back(engine, until, chosen.read),
            "plain": lambda: plain_select(engine, until, chosen.read),
        },
        chosen.repetitions,
    )
    report = Report(f"bars: {len(bars):,} in, {len(ours):,} out, median of {chosen.repetitions}")
    report.add("first load", taken["first"] * 1000, "ms")
    report.add("second load, the same bars", taken["second"] * 1000, "ms")
    report.add("bare COPY of prepared text", taken["bare"] * 1000, "ms")
    report.add("first load", len(bars) / taken["first"], "rows/s")
    report.add("ratio, first load", taken["first"] / taken["bare"], "x", TARGET)
    report.add("ratio, second load", taken["second"] / taken["bare"], "x", TARGET)
    report.add("recent_bars", reading["ours"] * 1000, "ms")
    report.add("SELECT, fetchall, DataFrame", reading["plain"] * 1000, "ms")
    report.add("ratio, reading", reading["ours"] / reading["plain"], "x")
    report.show(as_json=chosen.json)


if __name__ == "__main__":
    main()
