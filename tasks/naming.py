"""What a flow run is called, once it is known which symbols "all" are."""

from collections.abc import Sequence

import httpx
from prefect.client.orchestration import get_client
from prefect.exceptions import PrefectException
from prefect.runtime import flow_run

from tasks.stage import log

ALL_SYMBOLS = "all symbols"
NAMED_SYMBOLS = 3
"""More of them would push the moment out of a list of runs."""


def symbols_told(symbols: Sequence[object]) -> str:
    """`BTCUSD`, `A,B,C`, `200 symbols`, and of none `all symbols`."""
    if len(symbols) > NAMED_SYMBOLS:
        return f"{len(symbols)} symbols"
    return ",".join(map(str, symbols)) or ALL_SYMBOLS


def name_symbols(symbols: Sequence[str]) -> None:
    """Put `symbols` into the flow run's name, where it began as a run of all."""
    name = flow_run.name or ""
    if not flow_run.id or ALL_SYMBOLS not in name:
        return
    try:
        with get_client(sync_client=True) as client:
            client.update_flow_run(flow_run.id, name=name.replace(ALL_SYMBOLS, symbols_told(symbols)))
    except (httpx.HTTPError, PrefectException) as problem:  # a name is not worth a run
        log().debug("the run keeps its name: %s", problem)
