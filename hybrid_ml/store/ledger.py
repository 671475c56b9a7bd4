"""The ledger as a frame: answers, their outcomes, and the deliveries of their alerts."""

import io
from collections.abc import Sequence
from datetime import datetime

import pandas as pd
import pyarrow as pa
from pyarrow import csv
from sqlalchemy import Connection, text

from hybrid_ml.market.labels import HORIZON_MINUTES
from hybrid_ml.schemas.delivery_stats import LATE_AFTER_SECONDS, Deliveries
from hybrid_ml.store.database_errors import driver_cursor
from hybrid_ml.store.sql import query, read

TIMES = ("bar_time", "as_of", "resolved_at", "entry_time")
NUMBERS = ("close", "close_then", "corrected_close", "p_down", "p_flat", "p_up", "threshold", "confidence",
           "forward_return", "entry_price", "entry_return")  # fmt: skip
WORDS = ("symbol", "direction", "model_version", "preset", "outcome", "void_reason", "counted", "refused_by")
FLAGS = ("signal", "silenced_by_penalty", "fell_back", "corrected_since", "recorded_late", "tradable")
COLUMN_TYPES = (
    dict.fromkeys(TIMES, pa.int64())
    | dict.fromkeys(NUMBERS, pa.float64())
    | dict.fromkeys(WORDS, pa.string())
    | dict.fromkeys(FLAGS, pa.bool_())
)


def ledger_between(connection: Connection, symbols: Sequence[str], since: datetime, until: datetime) -> pd.DataFrame:
    """Answers about `symbols` after bars opened from `since` on and before `until`, as known at `until`.

    One row for each answer, by symbol and bar_time: TIMES (datetime64[us, UTC]), NUMBERS (NaN where not known), WORDS
    (NaN where there is none; refused_by: gates that refused, "a,b") and FLAGS (tradable: None where not known).
    By COPY; nine tenths of the time go into looking up every bar again for `corrected_since`.
    """
    values = {"symbols": list(symbols), "since": since, "until": until, "horizon_minutes": HORIZON_MINUTES}
    received = io.BytesIO()
    with driver_cursor(connection) as cursor:
        chosen = cursor.mogrify(read("ledger"), values).decode()
        cursor.copy_expert(f"COPY ({chosen}) TO STDOUT WITH (FORMAT CSV, HEADER)", received)
    return _frame(received.getvalue())


def _frame(data: bytes) -> pd.DataFrame:
    """Parse CSV as PostgreSQL writes it: an empty field is NULL, a quoted empty one is an empty text."""
    table = csv.read_csv(
        pa.BufferReader(data),
        parse_options=csv.ParseOptions(newlines_in_values=True),
        convert_options=csv.ConvertOptions(
            column_types=COLUMN_TYPES,
            null_values=[""],
            true_values=["t"],
            false_values=["f"],
            strings_can_be_null=True,
            quoted_strings_can_be_null=False,
        ),
    )
    for name in TIMES:
        place = table.schema.get_field_index(name)
        table = table.set_column(place, name, table[name].cast(pa.timestamp("us", tz="UTC")))
    frame: pd.DataFrame = table.to_pandas()
    return frame


def ledger_symbols(connection: Connection) -> list[str]:
    """Every symbol with at least one answer, sorted."""
    return [str(symbol) for symbol in connection.execute(query("ledger_symbols")).scalars()]


def answered_since(connection: Connection, symbols: Sequence[str], since: datetime) -> list[str]:
    """Those of `symbols` with an answer after a bar opened from `since` on."""
    statement = text(
        "SELECT name FROM unnest(CAST(:symbols AS text[])) AS name "
        "WHERE EXISTS (SELECT FROM predictions WHERE symbol = name AND bar_time >= :since)"
    )
    return list(connection.execute(statement, {"symbols": list(symbols), "since": since}).scalars())


def count_deliveries(
    connection: Connection, symbols: Sequence[str], since: datetime, until: datetime
) -> list[Deliveries]:
    """Deliveries of the alerts about bars of the period, by kind, chat and state; summaries are always counted."""
    values = {"symbols": list(symbols), "since": since, "until": until, "late_after_seconds": LATE_AFTER_SECONDS}
    return [Deliveries(**row) for row in connection.execute(query("count_deliveries"), values).mappings()]
