"""A cluster in this process: one node, and trainers that are tasks which really train, in numpy."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from cluster.audits import Order
from cluster.datasets import DatasetShelf
from cluster.launcher import devices_of
from cluster.launching import Lost, Outcome, Ticket
from cluster.manager import Manager
from cluster.placement import Node
from cluster.settings import Limits, Settings
from evidence import tensors
from evidence.clock import Clock
from evidence.errors import ServiceError, Unavailable
from evidence.records import Beginning, Checkpoint, Fault, TrainingEvent
from tests.cluster import small
from tests.cluster.small import Watch
from trainers.config import RunConfig

Work = Callable[["Trainer"], Awaitable[None]]


class Killed(Exception):
    """A trainer ends without a word."""


class Trainer:
    """One attempt: tells the manager what it does, in order."""

    def __init__(self, manager: Manager, ticket: Ticket, number: int) -> None:
        self.ticket = ticket
        self.number = number
        """How many trainers this cluster has started, this one included."""
        self.config = RunConfig.model_validate(ticket.config)
        self.start = _step(ticket.start)
        self.manager = manager
        self._sent = 0

    async def describe(self) -> None:
        """Tell what is known before step 0."""
        told = small.described(self.config)
        await self.manager.attempt_started(self.ticket.run_id, self.ticket.attempt, **told)

    async def begin(self) -> None:
        """Tell what the run begins with."""
        begins = small.beginning(self.config)
        await self.manager.report(self.ticket.run_id, self.ticket.attempt, self._sent, [begins])
        self._sent += 1

    async def train(self, *, until: int | None = None, data_seed: int = 1) -> None:
        """Train from the ticket's start up to step `until`."""
        for event in small.training(
            self.config, clock=Watch(), after=self.start, data_seed=data_seed
        ):
            step = _step_of(event)
            if until is not None and step is not None and step > until:
                return
            await self.manager.report(self.ticket.run_id, self.ticket.attempt, self._sent, [event])
            self._sent += 1
            await asyncio.sleep(0)


def _step_of(event: TrainingEvent) -> int | None:
    match event:
        case Checkpoint():
            return event.record.step
        case Beginning():
            return None
        case _:
            return event.step


def _step(start: Any) -> int:
    if not start:
        return 0
    decoded = tensors.decode(start["state.safetensors"], name="state.safetensors")
    return int(tensors.to_numpy(decoded["step"]))


async def whole(trainer: Trainer) -> None:
    """Train to the end."""
    await trainer.describe()
    await trainer.train()


async def endless(trainer: Trainer) -> None:
    """Report the first step and go on for ever."""
    await trainer.describe()
    await trainer.train(until=1)
    await asyncio.Event().wait()


def node(node_id: str, **resources: float) -> Node:
    """Return a node with these resources and the devices that they stand for."""
    return Node(node_id, resources, devices_of(resources, {}))


class Here:
    """The `Launcher` of these tests.

    Args:
        work: What each trainer does.
        cpus: Slots of the one node; a test may list others.
    """

    def __init__(self, work: Work = whole, *, cpus: int = 2) -> None:
        self.work = work
        self.started: list[Ticket] = []
        self.most_at_once = 0
        self.manager: Manager | None = None
        self.listed = [node("here", CPU=cpus)]
        self._tasks: dict[tuple[str, int], asyncio.Task[Outcome]] = {}

    async def nodes(self) -> Sequence[Node]:
        """Return the nodes that are listed."""
        return self.listed

    async def start(self, ticket: Ticket) -> None:
        """Start a task."""
        self.started.append(ticket)
        assert self.manager is not None
        trainer = Trainer(self.manager, ticket, len(self.started))
        task = asyncio.create_task(self._run(trainer))
        self._tasks[ticket.run_id, ticket.attempt] = task
        alive = sum(not one.done() for one in self._tasks.values())
        self.most_at_once = max(self.most_at_once, alive)

    async def _run(self, trainer: Trainer) -> Outcome:
        try:
            await self.work(trainer)
        except Killed:
            return Lost("killed by the test")
        except ServiceError as error:
            return Fault(code=error.code, detail=error.detail)
        return None

    async def outcome(self, run_id: str, attempt: int) -> Outcome:
        """Wait for a task's end."""
        task = self._tasks.get((run_id, attempt))
        if task is None:
            return Lost("its actor is gone")
        await asyncio.wait({task})
        return Lost("killed") if task.cancelled() else task.result()

    async def kill(self, run_id: str, attempt: int) -> None:
        """Cancel a task."""
        task = self._tasks.get((run_id, attempt))
        if task is not None:
            task.cancel()
            await asyncio.sleep(0)

    async def close(self) -> None:
        """End every trainer."""
        for task in self._tasks.values():
            task.cancel()
        await asyncio.gather(*self._tasks.values(), return_exceptions=True)


class Stocked(DatasetShelf):
    """A shelf whose data is made by the trainers themselves."""

    async def require(self, name: str) -> None:
        """Return: nothing is to be fetched."""


@asynccontextmanager
async def managed(
    home: Path, cluster: Here, *, session: str = "one", **limits: Any
) -> AsyncIterator[Manager]:
    """Run a manager on the files in `home`; leaving it is as if it was killed."""
    manager = opened(home, cluster, **limits)
    await manager.start(session=session)
    try:
        yield manager
    finally:
        await killed(manager)


def opened(home: Path, cluster: Here, *, clock: Clock | None = None, **limits: Any) -> Manager:
    """Return a manager that has not started."""
    settings = Settings(
        home=home,
        evidence_root=home / "evidence",
        cache=home / "cache",
        limits=Limits(**{"min_free_bytes": 0, **limits}),
    )
    manager = Manager(settings, cluster, small.notary(home), nobody_audits, clock=clock or Watch())
    manager.shelf = Stocked(settings, manager.audit)
    cluster.manager = manager
    return manager


async def nobody_audits(order: Order) -> dict[str, Any]:
    """Refuse: what these trainers did in numpy no trainer of the service can do again."""
    raise Unavailable(f"there is nobody who audits run {order.run_id} here")


async def killed(manager: Manager) -> None:
    """End the manager's tasks and close its files; trainers live on."""
    scheduler = {manager._scheduler} if manager._scheduler else set()
    tasks = {
        *manager._supervisors.values(),
        *manager._mending,
        *manager._witnessing.values(),
        *scheduler,
    }
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    for folder in [*manager.registry._live.values(), *manager.registry._sealed.values()]:
        folder.close()
    manager.audit.close()


async def held(condition: Callable[[], bool], *, within_s: float = 20) -> None:
    """Return as soon as a condition holds."""
    async with asyncio.timeout(within_s):
        while not condition():  # noqa: ASYNC110 - what is waited for has no event
            await asyncio.sleep(0.005)


async def started(cluster: Here, count: int) -> None:
    """Return as soon as so many trainers have been started."""
    await held(lambda: len(cluster.started) >= count)


async def until(manager: Manager, run_id: str, *states: str) -> dict[str, Any]:
    """Return the view of a run as soon as it is in one of `states`."""
    await held(lambda: manager.view(run_id)["status"] in states)
    return manager.view(run_id)
