"""Configuration from the Prefect UI: blocks and the Variable, read into the settings once for each flow run."""

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
WITHOUT = "set HYBRID_ML_BLOCKS=false to use the environment and .env alone"
_lock = Lock()


class _Loaded:
    """The flow run whose configuration this process has loaded."""

    flow_run_id: str | None = None


def load_configuration() -> None:
    """Inside a run: read blocks and Variable once for each flow run; a change in the UI applies from the next run on.

    Raises ConfigurationUnreachable where the server does not return them: using another database than the block's
    would be worse than retrying the run.
    """
    running = flow_run.id
    if running is None or running == _Loaded.flow_run_id or not _is_enabled():
        return
    with _lock:
        if running != _Loaded.flow_run_id:
            set_overrides(_read(SECONDS_IN_A_RUN))
            _Loaded.flow_run_id = running


def preload_configuration() -> None:
    """Read it before the run is Running; errors are left to `load_configuration`, which is called inside the run."""
    with suppress(HybridMLError):
        load_configuration()


def load_configuration_for_command() -> None:
    """The same for a command, which is no run, where a Prefect server is configured; with a short timeout."""
    if _is_enabled():
        limits = {PREFECT_API_REQUEST_TIMEOUT: SECONDS_FOR_A_COMMAND, PREFECT_CLIENT_MAX_RETRIES: 0}
        with temporary_settings(limits):
            set_overrides(_read(SECONDS_FOR_A_COMMAND))


def _is_enabled() -> bool:
    """False without a configured server, since there is no UI to configure anything in; none is started for this."""
    return bool(get_current_settings().api.url) and load_settings().hybrid_ml_blocks


def _read(seconds: float) -> dict[str, SettingOverride]:
    """The overrides on the server; `seconds`: timeout of one request. In a run its open client is used."""
    with translate_http_errors(), get_client(sync_client=True) as client:
        return offers_of(_blocks(client, seconds), _thresholds(client, seconds))


def _blocks(client: SyncPrefectClient, seconds: float) -> list[Block]:
    """All three in one request, of any type, with secrets decrypted."""
    body = {"block_documents": {"name": {"any_": list(BLOCK_TYPES)}}, "include_secrets": True}
    documents = client.request("POST", "/block_documents/filter", json=body, timeout=seconds).json()
    return [Block(block["name"], block["block_type"]["slug"], block["data"]) for block in documents]


def _thresholds(client: SyncPrefectClient, seconds: float) -> object:
    body = {"variables": {"name": {"any_": [THRESHOLDS_VARIABLE]}}}
    variables = client.request("POST", "/variables/filter", json=body, timeout=seconds).json()
    return variables[0]["value"] if variables else {}


@contextmanager
def translate_http_errors() -> Iterator[None]:
    """Translate an error of a request into one with its remedy; neither request nor response is repeated in it."""
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
            f"cannot read {subject} (status {status}); see its log: one reason is a block saved under another "
            f"encryption key; or {WITHOUT}"
        ) from None
    except httpx.HTTPError as error:
        raise ConfigurationUnreachable(
            f"cannot read {subject} ({type(error).__name__}); start it, or unset PREFECT_API_URL, or {WITHOUT}"
        ) from None
