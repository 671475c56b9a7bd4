"""Blocks and Variable for configuration in the Prefect UI."""

from prefect.blocks.system import Secret
from prefect.client.orchestration import SyncPrefectClient
from prefect.client.schemas.actions import VariableCreate
from prefect.exceptions import ObjectNotFound
from prefect_sqlalchemy import SqlAlchemyConnector
from pydantic import SecretStr

from hybrid_ml.config.prefect_blocks import SECRET_BLOCKS, THRESHOLDS_VARIABLE


def set_up_blocks(client: SyncPrefectClient) -> list[str]:
    """Create what is missing on the server of `client`, and return what was created; existing items are not changed.

    These are the block types, empty Secret blocks, and the Variable without thresholds. The
    database's block is left to the user, since one without an address cannot be saved. `client` must be of the server
    in Prefect's settings.
    """
    made = []
    for kind in (Secret, SqlAlchemyConnector):
        kind.register_type_and_schema(_sync=True)  # type: ignore[call-arg]  # sync here, whatever runs around it
    for name in SECRET_BLOCKS:
        try:
            client.read_block_document_by_name(name, Secret.get_block_type_slug(), include_secrets=False)
        except ObjectNotFound:
            Secret(value=SecretStr("")).save(name, overwrite=False, _sync=True)  # type: ignore[call-arg]
            made.append(f"Secret block {name}, empty")
    if client.read_variable_by_name(THRESHOLDS_VARIABLE) is None:
        client.create_variable(VariableCreate(name=THRESHOLDS_VARIABLE, value={}, tags=["hybrid-ml"]))
        made.append(f"variable {THRESHOLDS_VARIABLE}, {{}}")
    return made
