"""One run's attempts on one node: start its trainer, wait, start it again when it was lost.

Plain asyncio without Ray. What to do after a loss is decided purely (`after_loss`). A supervision
never moves its run to another state; it returns how the attempts ended, and the manager does.
"""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Final

import structlog

from cluster.launching import Launcher, Lost, Outcome, Ticket
from cluster.placement import Place
from cluster.run_folder import RunFolder
from cluster.summary import TRAINER_LOST
from evidence.clock import Clock, moment
from evidence.errors import LimitExceeded, ServiceError, TrainerLost
from evidence.records import Fault, LogLevel

log = structlog.get_logger()


class NodeLost:
    """The node went away with the trainer: the run needs another place."""


NODE_LOST: Final = NodeLost()

_LOOK_S = 1.0
"""How often a group's nodes are looked for."""

Ending = Fault | NodeLost | None
"""How the attempts on a node ended: with an error, without the node, or well."""


def after_loss(loss: Lost, *, losses: int, max_restarts: int, has_node: bool) -> Ending | Lost:
    """Decide what follows the loss of a trainer: `loss` itself means that it is started again.

    Args:
        loss: The death of the trainer.
        losses: Trainers of this run that were lost on this node, this one included.
        max_restarts: How often a run's trainer is started again.
        has_node: Whether the node is still in the cluster. A lost node is not the run's fault and
            is not counted.
    """
    if not has_node:
        return NODE_LOST
    if losses > max_restarts:
        return Fault(
            code=TrainerLost.code,
            detail=f"lost {losses} times, max_restarts = {max_restarts}; last: {loss.reason}",
        )
    return loss


class Supervisor:
    """Carries runs through their attempts.

    Args:
        launcher: The cluster.
        require_data: Called with a data set's name before a trainer starts; fetches or raises.
        clock: For the wall time.
        changed: Called with the folder after each line written to it.
    """

    def __init__(
        self,
        launcher: Launcher,
        *,
        require_data: Callable[[str], Awaitable[None]],
        clock: Clock,
        changed: Callable[[RunFolder], None],
    ) -> None:
        self._launcher = launcher
        self._require_data = require_data
        self._clock = clock
        self._changed = changed

    async def attempts(
        self, folder: RunFolder, place: Place, *, starts: bool, resumes: bool
    ) -> Ending:
        """Run attempts until the run ends, fails, takes too long or loses its node.

        Args:
            folder: A run that is running.
            place: Where it was placed.
            starts: Whether a trainer is to be started first; not when one is adopted.
            resumes: Whether that start is told as a resumption.
        """
        ending = await self._ending(folder, place, starts=starts, resumes=resumes)
        await self._launcher.kill(folder.run_id, folder.summary.attempt)
        return ending

    async def _ending(
        self, folder: RunFolder, place: Place, *, starts: bool, resumes: bool
    ) -> Ending:
        try:
            async with asyncio.timeout(self._remaining_s(folder)):
                return await self._until_ended(folder, place, starts=starts, resumes=resumes)
        except TimeoutError:
            limit = folder.config.max_wall_s
            return Fault(code=LimitExceeded.code, detail=f"longer than max_wall_s = {limit}")
        except ServiceError as error:
            return Fault(code=error.code, detail=error.detail[:4000])
        except Exception as error:  # else the run would hold its place for ever; logged whole
            log.exception("supervision_failed", run_id=folder.run_id)
            detail = f"{type(error).__name__}: {error}"[:4000]
            return Fault(code=ServiceError.code, detail=detail)

    def _remaining_s(self, folder: RunFolder) -> float:
        """Return what is left of the wall time; a manager that adopts a run does not renew it."""
        since = folder.summary.running_since
        assert since is not None, "a running run began to run"
        spent = (self._clock() - moment(since)).total_seconds()
        return folder.config.max_wall_s - max(0.0, spent)

    async def _until_ended(
        self, folder: RunFolder, place: Place, *, starts: bool, resumes: bool
    ) -> Ending:
        while True:
            if starts:
                await self._start_trainer(folder, place, resumes=resumes)
            outcome = await self._outcome(folder, place)
            if not isinstance(outcome, Lost):
                return outcome
            await self._launcher.kill(folder.run_id, folder.summary.attempt)
            folder.log(
                TRAINER_LOST,
                outcome.reason,
                level=LogLevel.WARNING,
                attempt=folder.summary.attempt + 1,
            )
            self._changed(folder)
            ending = after_loss(
                outcome,
                losses=folder.summary.losses,
                max_restarts=folder.config.max_restarts,
                has_node=await self._has_nodes(place),
            )
            if not isinstance(ending, Lost):
                return ending
            starts = resumes = True

    async def _outcome(self, folder: RunFolder, place: Place) -> Outcome:
        """Wait until an attempt has ended; a group has too when one of its nodes is gone.

        A group that is being started would wait for that node, and be told nothing.
        """
        ending = asyncio.ensure_future(
            self._launcher.outcome(folder.run_id, folder.summary.attempt)
        )
        try:
            while not (await asyncio.wait({ending}, timeout=_LOOK_S))[0]:
                if place.is_group and not await self._has_nodes(place):
                    return Lost("a node of the group left the cluster")
            return ending.result()
        finally:
            ending.cancel()

    async def _has_nodes(self, place: Place) -> bool:
        return {node.node_id for node in await self._launcher.nodes()}.issuperset(place.nodes)

    async def _start_trainer(self, folder: RunFolder, place: Place, *, resumes: bool) -> None:
        await self._require_data(folder.config.dataset)
        step, files, damaged = await asyncio.to_thread(folder.newest_good_checkpoint)
        for damaged_step, detail in damaged.items():
            folder.log(
                "checkpoint_damaged", detail[:2000], level=LogLevel.WARNING, step=damaged_step
            )
        if resumes:
            folder.log("resumed", f"resumed from step {step}", step=step)
            self._changed(folder)
        config = folder.config.model_dump(mode="json")
        ticket = Ticket(folder.run_id, folder.summary.attempt, config, place, files)
        await self._launcher.start(ticket)
