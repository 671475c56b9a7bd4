"""Configuration from the Prefect UI: blocks and the Variable, offered to the settings once a flow run."""

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from threading import Lock

import httpx
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.runtime import flow_run
from prefect.settings import (
    PREFECT_API_REQUEST_TIMEOUT,
    PREFECT_CLIENT_MAX_RETRIES,
    get_current_settings,
    temporary_settings,
)

from hybrid_ml.config.overrides import SettingOverride, set_overrides
from hybrid_ml.config.prefect_blocks import BLOCK_TYPES, THRESHOLDS_VARIABLE, Block, offers_of
from hybrid_ml.config.settings import load_settings
from hybrid_ml.errors import BadInput, ConfigurationUnreachable, HybridMLError

SECONDS_IN_A_RUN = 10.0
SECONDS_FOR_A_COMMAND = 5.0
WITHOUT = "set HYBRID_ML_BLOCKS=false to go by the environment and .env alone"
_lock = Lock()


class _Newest:
    """The flow run whose configuration stands in this process."""

    flow_run_id: str | None = None


def take_configuration() -> None:
    """Inside a run: read blocks and Variable once a flow run, so that a change in the UI counts from the next one on.

    Raises ConfigurationUnreachable when the server does not hand them out: falling back from a block's database to
    another would be worse than a run that tries again.
    """
    running = flow_run.id
    if running is None or running == _Newest.flow_run_id or not _counts():
        return
    with _lock:
        if running != _Newest.flow_run_id:
            set_overrides(_read(SECONDS_IN_A_RUN))
            _Newest.flow_run_id = running


def take_configuration_ahead() -> None:
    """Read it before the run is Running; what is wrong with it is left to `take_configuration`, inside the run."""
    with suppress(HybridMLError):
        take_configuration()


def take_configuration_outside() -> None:
    """For a command that is no run: the same, where a Prefect server is configured; it answers soon, or not at all."""
    if _counts():
        patience = {PREFECT_API_REQUEST_TIMEOUT: SECONDS_FOR_A_COMMAND, PREFECT_CLIENT_MAX_RETRIES: 0}
        with temporary_settings(patience):
            set_overrides(_read(SECONDS_FOR_A_COMMAND))


def _counts() -> bool:
    """Without a configured server there is no UI to configure anything in; none is started to look."""
    return bool(get_current_settings().api.url) and load_settings().hybrid_ml_blocks


def _read(seconds: float) -> dict[str, SettingOverride]:
    """What the server offers; `seconds`: how long one answer may take. In a run its open client is used."""
    with translate_http_errors(), get_client(sync_client=True) as client:
        return offers_of(_blocks(client, seconds), _thresholds(client, seconds))


def _blocks(client: SyncPrefectClient, seconds: float) -> list[Block]:
    """All three in one request, of whatever type, secrets in the clear."""
    body = {"block_documents": {"name": {"any_": list(BLOCK_TYPES)}}, "include_secrets": True}
    found = client.request("POST", "/block_documents/filter", json=body, timeout=seconds).json()
    return [Block(block["name"], block["block_type"]["slug"], block["data"]) for block in found]


def _thresholds(client: SyncPrefectClient, seconds: float) -> object:
    body = {"variables": {"name": {"any_": [THRESHOLDS_VARIABLE]}}}
    found = client.request("POST", "/variables/filter", json=body, timeout=seconds).json()
    return found[0]["value"] if found else {}


@contextmanager
def translate_http_errors() -> Iterator[None]:
    """What kept the server from answering, as an error with its remedy; never what was asked or answered."""
    url = get_current_settings().api.url
    subject = f"blocks and variable {THRESHOLDS_VARIABLE} of the Prefect server at {url}"
    try:
        yield
    except httpx.HTTPStatusError as error:
        status = error.response.status_code
        if status in (401, 403):
            raise BadInput(
                f"not allowed to read {subject} (status {status}); check PREFECT_API_AUTH_STRING or PREFECT_API_KEY, "
                f"or {WITHOUT}"
            ) from None
        raise ConfigurationUnreachable(
            f"cannot read {subject} (status {status}); its log says why, a block saved under another encryption key is "
            f"one reason; or {WITHOUT}"
        ) from None
    except httpx.HTTPError as error:
        raise ConfigurationUnreachable(
            f"cannot read {subject} ({type(error).__name__}); start it, or unset PREFECT_API_URL, or {WITHOUT}"
        ) from None
