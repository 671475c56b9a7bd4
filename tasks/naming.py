"""The name of a flow run, completed once the symbols of a run over all are known."""

from collections.abc import Sequence

from prefect.runtime import flow_run

from tasks.pages import queue_name

ALL_SYMBOLS = "all symbols"
NAMED_SYMBOLS = 3
"""More names would make the run's name too long to show its moment in a list of runs."""


def format_symbols(symbols: Sequence[object]) -> str:
    """`BTCUSD`, `A,B,C`, `200 symbols`, and for an empty list `all symbols`."""
    if len(symbols) > NAMED_SYMBOLS:
        return f"{len(symbols)} symbols"
    return ",".join(map(str, symbols)) or ALL_SYMBOLS


def name_symbols(symbols: Sequence[str]) -> None:
    """Put `symbols` into the flow run's name, to be sent at its end, where it began as a run of all symbols."""
    name = flow_run.name or ""
    if ALL_SYMBOLS in name:
        queue_name(name.replace(ALL_SYMBOLS, format_symbols(symbols)))
