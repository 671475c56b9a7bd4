"""What the Prefect server does by itself: a run that fell silent is Crashed, so that no state stays untrue."""

from datetime import timedelta

from prefect.client.orchestration import SyncPrefectClient
from prefect.client.schemas.objects import StateType
from prefect.events.actions import ChangeFlowRunState
from prefect.events.schemas.automations import AutomationCore, EventTrigger, Posture
from prefect.events.schemas.events import ResourceSpecification

from deployments.names import TAG, ZOMBIE_AUTOMATION

SILENCE_SECONDS = 90
"""Three heartbeats; within two minutes of the last one the state is true again."""
WATCHED_AFTER = ("heartbeat", "Pending", "Submitting", "InfrastructurePending", "Running", "Retrying", "Cancelling")
"""Whatever a run's process or its worker must follow with something."""


def silent_runs_are_crashed() -> AutomationCore:
    """A run of ours that is on its way or at work, and of which nothing is heard any more.

    Prefect's own recipe (docs, "detect zombie flows") names the states a run may end in; ours have names of their
    own, so whatever is heard of a run counts. One that waits for its worker, or for its end, is watched as well.
    """
    return AutomationCore(
        name=ZOMBIE_AUTOMATION,
        description=f"Nothing was heard of the run for {SILENCE_SECONDS} seconds: its process or its worker is gone.",
        trigger=EventTrigger(
            after={f"prefect.flow-run.{name}" for name in WATCHED_AFTER},
            expect={"prefect.flow-run.*"},
            match=ResourceSpecification({"prefect.resource.id": ["prefect.flow-run.*"]}),
            match_related=ResourceSpecification({"prefect.resource.id": [f"prefect.tag.{TAG}"]}),
            for_each={"prefect.resource.id"},
            posture=Posture.Proactive,
            threshold=1,
            within=timedelta(seconds=SILENCE_SECONDS),
        ),
        actions=[
            ChangeFlowRunState(
                state=StateType.CRASHED,
                message=f"nothing was heard of this run for {SILENCE_SECONDS} seconds; its process or worker is gone",
            )
        ],
    )


def _stated(automation: AutomationCore) -> dict[str, object]:
    """What we say of it; lists that mean sets in one order."""
    trigger = automation.trigger.model_dump(mode="json", exclude={"id"})
    actions = [each.model_dump(mode="json") for each in automation.actions]
    found = {"description": automation.description, "actions": actions}
    return found | {name: sorted(value) if isinstance(value, list) else value for name, value in trigger.items()}


def set_up_automation(client: SyncPrefectClient) -> None:
    """Create the automation, or bring the one that is there up to date, on or off as a person left it.

    One that is up to date is left alone: the server forgets at every update which runs had fallen silent.
    """
    wanted = silent_runs_are_crashed()
    for found in client.read_automations_by_name(ZOMBIE_AUTOMATION):
        if _stated(found) != _stated(wanted):
            client.update_automation(found.id, wanted.model_copy(update={"enabled": found.enabled}))
        return
    client.create_automation(wanted)
