"""Automations that earlier versions created on the Prefect server, and their removal."""

from prefect.client.orchestration import SyncPrefectClient

FORMER_AUTOMATION = "hybrid-ml: a silent run is Crashed"
"""It also crashed runs after the whole machine was suspended; the worker watches runs now (`run_watcher`)."""


def remove_former_automation(client: SyncPrefectClient) -> None:
    """Delete the automation that earlier versions created, where it still exists.

    Their limit of one run at a time needs no removal: `prefect deploy` removes what prefect.yaml no longer states.
    """
    for automation in client.read_automations_by_name(FORMER_AUTOMATION):
        client.delete_automation(automation.id)
