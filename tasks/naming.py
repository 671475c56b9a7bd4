"""What a flow run is called, once it is known which symbols "all" are."""

from collections.abc import Sequence

from prefect.runtime import flow_run

from tasks.pages import leave_name

ALL_SYMBOLS = "all symbols"
NAMED_SYMBOLS = 3
"""More of them would push the moment out of a list of runs."""


def format_symbols(symbols: Sequence[object]) -> str:
    """`BTCUSD`, `A,B,C`, `200 symbols`, and of none `all symbols`."""
    if len(symbols) > NAMED_SYMBOLS:
        return f"{len(symbols)} symbols"
    return ",".join(map(str, symbols)) or ALL_SYMBOLS


def name_symbols(symbols: Sequence[str]) -> None:
    """Put `symbols` into the flow run's name at its end, where it began as a run of all."""
    name = flow_run.name or ""
    if ALL_SYMBOLS in name:
        leave_name(name.replace(ALL_SYMBOLS, format_symbols(symbols)))
