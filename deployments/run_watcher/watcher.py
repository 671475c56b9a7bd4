"""The worker's run watcher: runs without heartbeats are set to Crashed, and slots that crashed in time run again."""

from collections.abc import Hashable, Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from uuid import UUID

import anyio
import anyio.to_thread
from prefect.client.orchestration import PrefectClient, get_client
from prefect.client.schemas.filters import FlowRunFilter, FlowRunFilterState, FlowRunFilterStateType, FlowRunFilterTags
from prefect.client.schemas.objects import FlowRun, StateType
from prefect.events.filters import EventFilter, EventNameFilter, EventOccurredFilter, EventResourceFilter
from prefect.states import Crashed

from deployments.provision.names import TAG
from deployments.run_watcher.processes import flow_process_id
from deployments.run_watcher.repeats import repeat_crashed_slots
from deployments.run_watcher.silence import Moment, SilenceClock
from hybrid_ml.text.counts import counted

CHECK_SECONDS = 5.0
SILENCE_SECONDS = 90.0
"""Three heartbeats; within two minutes of the last one the state on the server is right again."""
AT_WORK = [StateType.PENDING, StateType.RUNNING, StateType.CANCELLING]
"""States after which a run's process or its worker must report another one."""
OWNER_LABEL = "prefect.worker.name"
EVENTS_WITHIN = timedelta(hours=1)
"""The age of the heartbeats that are read; more than the clocks of two machines may differ."""
MOST_EVENTS = 50
"""The most that the server returns in one page."""


@dataclass
class RunWatcher:
    """Watches the runs of `pool` from the worker called `name`."""

    client: PrefectClient
    pool: str
    name: str
    clock: SilenceClock = field(default_factory=SilenceClock)
    reported_alive: set[UUID] = field(default_factory=set)
    settled: set[UUID] = field(default_factory=set)

    async def check(self) -> None:
        """Check once; raises what the client raises where the server does not answer."""
        runs = await read_runs(self.client, AT_WORK)
        signs = await self._signs(runs)
        silent = self.clock.update(Moment.now(), signs)
        self.reported_alive &= silent.keys()
        for run in runs:
            if silent[run.id] >= SILENCE_SECONDS:
                await self._judge(run, silent[run.id])
        await repeat_crashed_slots(self.client, datetime.now(UTC), self.settled)

    async def _signs(self, runs: list[FlowRun]) -> dict[UUID, list[Hashable]]:
        """The state of each run, and its heartbeats on the server.

        Only changes since the last check count, never a time in an event.
        """
        signs: dict[UUID, list[Hashable]] = {run.id: [run.state_id] for run in runs}
        if not runs:
            return signs
        now = datetime.now(UTC)
        wanted = EventFilter(
            occurred=EventOccurredFilter(since=now - EVENTS_WITHIN, until=now + EVENTS_WITHIN),
            event=EventNameFilter(name=["prefect.flow-run.heartbeat"]),
            resource=EventResourceFilter(id=[f"prefect.flow-run.{run.id}" for run in runs]),
        )
        page = await self.client.read_events(wanted, limit=MOST_EVENTS)
        for event in page.events:
            run_id = UUID(event.resource.id.removeprefix("prefect.flow-run."))
            if run_id in signs:
                signs[run_id].append(event.id)
        return signs

    async def _judge(self, run: FlowRun, seconds: float) -> None:
        """Crash a run without heartbeats, unless its process exists, or its worker is another one that is online."""
        if await self._belongs_to_another(run):
            return
        process_id = await anyio.to_thread.run_sync(flow_process_id, run.id)
        if process_id is not None:
            if run.id not in self.reported_alive:
                print(f"no heartbeat of {run.name} for {seconds:.0f} s, but its process {process_id} exists")
            self.reported_alive.add(run.id)
            return
        newest = await self.client.read_flow_run(run.id)
        if newest.state_id != run.state_id:  # it has continued meanwhile
            return
        reason = f"no heartbeat of this run for {counted(round(seconds), 'second')}; its process or worker is gone"
        await self.client.set_flow_run_state(run.id, Crashed(message=reason))
        print(f"{run.name} is Crashed: {reason}")

    async def _belongs_to_another(self, run: FlowRun) -> bool:
        owner = run.labels.get(OWNER_LABEL)
        if owner is None or owner == self.name:
            return False
        workers = await self.client.read_workers_for_work_pool(self.pool)
        return any(worker.name == owner and worker.status == "ONLINE" for worker in workers)


async def read_runs(client: PrefectClient, types: Iterable[StateType]) -> list[FlowRun]:
    """Runs of this project in states of `types`."""
    chosen = FlowRunFilter(
        tags=FlowRunFilterTags(all_=[TAG]),
        state=FlowRunFilterState(type=FlowRunFilterStateType(any_=list(types))),
    )
    return await client.read_flow_runs(flow_run_filter=chosen)


async def watch_runs(pool: str, name: str) -> None:
    """Check every CHECK_SECONDS until cancelled. After a check that failed, counting starts again."""
    answers = True
    async with get_client() as client:
        watcher = RunWatcher(client, pool, name)
        while True:
            try:
                await watcher.check()
            except Exception as error:  # any error of a server that stops or starts: the worker continues
                watcher.clock.interrupt()
                if answers:
                    print(f"runs are not watched while the server does not answer ({type(error).__name__})")
                answers = False
            else:
                if not answers:
                    print("runs are watched again")
                answers = True
            await anyio.sleep(CHECK_SECONDS)
