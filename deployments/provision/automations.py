"""What earlier versions had the Prefect server do by itself, and what is taken from it."""

from prefect.client.orchestration import SyncPrefectClient

FORMER_AUTOMATION = "hybrid-ml: a silent run is Crashed"
"""It took the time in which everything stood still for silence; the worker watches runs now (`run_watcher`)."""


def remove_former_automation(client: SyncPrefectClient) -> None:
    """Delete the automation that earlier versions made, wherever it still is.

    Their limit of one run at a time goes by itself: `prefect deploy` takes what prefect.yaml no longer states.
    """
    for automation in client.read_automations_by_name(FORMER_AUTOMATION):
        client.delete_automation(automation.id)
