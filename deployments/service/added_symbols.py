"""Symbols that a person names to `hybrid-ml up`: one run of the deployment add-symbols, followed to its end."""

import time
from collections.abc import Callable

from httpx import HTTPError
from prefect.client.orchestration import get_client
from prefect.client.schemas.objects import State
from prefect.exceptions import PrefectException

from hybrid_ml.config.settings import Settings
from hybrid_ml.schemas.add_symbols_request import AddSymbolsRequest
from hybrid_ml.store.engine import open_engine
from hybrid_ml.store.sql import query

DEPLOYMENT = "add symbols/add-symbols"
POLL_SECONDS = 2.0


class AddedSymbols:
    """The run that adds the symbols of `request` which have no bars of a feed or no model yet; none where all have."""

    def __init__(self, request: AddSymbolsRequest, settings: Settings, tell: Callable[[str, str], None]) -> None:
        self._tell, self._next_poll = tell, 0.0
        with open_engine(settings).connect() as connection:
            missing = list(connection.execute(query("symbols_to_add"), {"symbols": request.symbols}).scalars())
        self._names = ", ".join(missing)
        self._is_over = not missing
        if missing:
            parameters = {"request": request.model_copy(update={"symbols": missing}).model_dump()}
            with get_client(sync_client=True) as client:
                deployment = client.read_deployment_by_name(DEPLOYMENT)
                self._run = client.create_flow_run_from_deployment(deployment.id, parameters=parameters).id
            self._tell("symbols", f"{self._names}: loading {request.days} days of {request.exchange}, then training")

    def check(self) -> None:
        """Tell how the run ended, once."""
        if self._is_over or time.monotonic() < self._next_poll:
            return
        self._next_poll = time.monotonic() + POLL_SECONDS
        try:
            with get_client(sync_client=True) as client:
                state = client.read_flow_run(self._run).state
        except (HTTPError, PrefectException):
            return  # the readiness checks report it
        if state is not None and state.is_final():
            self._is_over = True
            self._tell("symbols", format_end(self._names, state))


def format_end(names: str, state: State) -> str:
    """How a run that added the symbols `names` ended; the message of a failure names those that failed."""
    if state.is_completed():
        return f"{names}: loaded, trained and answered; every slot from now on"
    return f"{state.name}: {state.message or f'{names}: see the run in the UI'}"
