"""The Ray shell of the manager: a detached, named actor on the head node that Ray restarts.

Each method is one call of the plain `Manager`; errors cross the border as they are.
"""

import asyncio
import os
from collections.abc import AsyncIterator, Mapping, Sequence
from typing import IO, TYPE_CHECKING, Any

import ray
import structlog

from cluster import home_lock, reading
from cluster.account_methods import AccountMethods
from cluster.audit import Who
from cluster.audit_task import RayAuditors
from cluster.canary import Canary
from cluster.canary_task import DATASET, on_the_cluster
from cluster.devices import DeviceBoard
from cluster.directory import HEAD_NODE, MANAGER, NAMESPACE
from cluster.gauges import Gauges
from cluster.launcher import RayLauncher, node_free
from cluster.manager import Manager
from cluster.notary import Notary
from cluster.prediction import as_images, classify_on_cluster
from cluster.proposal_methods import ProposalMethods
from cluster.retention import Retention
from cluster.run_folder import RunFolder
from cluster.run_table import Query
from cluster.settings import Settings, as_environment, from_environment
from evidence.clock import utc_now
from evidence.errors import Conflict, StorageFull
from evidence.records import RunState, TrainingEvent
from trainers.provenance import describe_code

if TYPE_CHECKING:
    from ray.actor import ActorProxy

log = structlog.get_logger()

_MOST_CALLS = 10_000
_GAUGES_EVERY_S = 5.0
_ANCHOR_EVERY_S = 2.0


class ManagerActor(AccountMethods, ProposalMethods):
    """The manager as an actor; see `cluster.manager.Manager` for what the methods do."""

    _manager: Manager

    def __init__(self) -> None:
        self._settings = from_environment(os.environ)
        self._launcher = RayLauncher(self._settings)
        self._gauges = Gauges()
        self._devices = DeviceBoard(self._launcher)
        self._begun: asyncio.Task[None] | None = None
        self._lock: IO[bytes] | None = None
        # After a restart nobody else would call it.
        ray.get_runtime_context().current_actor.begin.remote()

    @ray.method
    async def begin(self) -> None:
        """Rebuild from disk and start scheduling; every other call waits for it."""
        await self._begin()

    async def _begin(self) -> None:
        if self._begun is None or _has_failed(self._begun):
            self._begun = asyncio.create_task(self._open())
        await asyncio.shield(self._begun)  # whoever asks may go away; the start goes on

    async def _open(self) -> None:
        """Take the home, which no other manager may write to, and rebuild from it."""
        home = self._settings.home
        home.mkdir(parents=True, exist_ok=True)
        self._lock = self._lock or home_lock.hold(home)  # a start that failed has it already
        self._manager = Manager(
            self._settings,
            self._launcher,
            Notary.open(home, limits=self._settings.limits, witnesses=self._settings.witnesses),
            RayAuditors(node_free(self._settings)),
            count=self._gauges.count,
        )
        await self._manager.start(session=ray.get_runtime_context().get_session_name())
        self._canary = Canary(
            self._settings.cache / "canary",
            code=describe_code()["digest"],
            clock=utc_now,
            train=on_the_cluster(node_free(self._settings)),
            is_idle=lambda: self._manager.is_idle,
            has_data=self._has_canary_data,
        )
        self._manager.canary_view = self._canary_view
        if self._settings.canary:
            self._canary.start()
        self._showing = asyncio.create_task(self._show_for_ever())
        self._anchoring = asyncio.create_task(self._anchor_for_ever())

    def _folder(self, run_id: str) -> RunFolder:
        return self._manager.registry.folder(run_id)

    async def _show_for_ever(self) -> None:
        while True:
            self._gauges.show_runs(self._manager.registry.count())
            self._gauges.show_devices(await self._devices.views())
            await asyncio.sleep(_GAUGES_EVERY_S)

    async def _anchor_for_ever(self) -> None:
        while True:
            try:
                self._manager.anchor.anchor()
            except StorageFull as full:  # the next turn anchors these lines too
                log.warning("journal_not_anchored", cause=full.detail)
            await asyncio.sleep(_ANCHOR_EVERY_S)

    @ray.method
    async def submit(
        self, request: Mapping[str, Any], who: Who, idempotency_key: str | None
    ) -> dict[str, Any]:
        """Take in a run."""
        await self._begin()
        change = self._manager.submit(request, who=who, idempotency_key=idempotency_key)
        return await self._manager.carry_through(change)

    @ray.method
    async def cancel(self, run_id: str, who: Who) -> dict[str, Any]:
        """End a run for good."""
        await self._begin()
        return await self._manager.carry_through(self._manager.cancel(run_id, who=who))

    @ray.method
    async def resume(self, run_id: str, who: Who) -> dict[str, Any]:
        """Put an interrupted or failed run back into the queue."""
        await self._begin()
        return await self._manager.carry_through(self._manager.resume(run_id, who=who))

    @ray.method
    async def view(self, run_id: str) -> dict[str, Any]:
        """Return one run."""
        await self._begin()
        return self._manager.view(run_id)

    @ray.method
    async def page(self, status: str | None, offset: int, limit: int) -> dict[str, Any]:
        """Return one page of runs, newest first."""
        await self._begin()
        state = RunState(status) if status else None
        return self._manager.page(state=state, offset=offset, limit=limit)

    @ray.method
    async def table(self, query: Query) -> dict[str, Any]:
        """Return one page of the table of runs, and the service journal's newest number."""
        await self._begin()
        last_seq = self._manager.audit.last_seq
        return {**await self._manager.table.page(query), "last_seq": last_seq}

    @ray.method
    async def events(
        self, run_id: str | None, after: int, limit: int, wait_s: float
    ) -> list[bytes]:
        """Return journal lines after a sequence number; may wait for the first."""
        await self._begin()
        return await self._manager.events(run_id, after=after, limit=limit, wait_s=wait_s)

    @ray.method
    async def audit_seq(self) -> int:
        """Return the newest sequence number of the service journal."""
        await self._begin()
        return self._manager.audit.last_seq

    @ray.method
    async def metrics(self, run_id: str, after: int, limit: int) -> dict[str, Any]:
        """Return metric records after a sequence number, and the trend."""
        await self._begin()
        return reading.metrics(self._folder(run_id), after=after, limit=limit)

    @ray.method
    async def curves(self, run_id: str, after: int, limit: int) -> dict[str, Any]:
        """Return metrics after a sequence number, as columns."""
        await self._begin()
        last = self._manager.last_visible(run_id)
        return reading.curves(self._folder(run_id), after=after, last=last, limit=limit)

    @ray.method
    async def logs(self, run_id: str, after: int, limit: int) -> dict[str, Any]:
        """Return log records after a sequence number."""
        await self._begin()
        last = self._manager.last_visible(run_id)
        return reading.logs(self._folder(run_id), after=after, last=last, limit=limit)

    @ray.method
    async def checkpoints(self, run_id: str) -> list[dict[str, Any]]:
        """Return the checkpoint records of a run."""
        await self._begin()
        return reading.checkpoint_records(self._folder(run_id))

    @ray.method
    async def checkpoint_file(self, run_id: str, step: int, name: str) -> bytes:
        """Return one file of a checkpoint, its digest checked."""
        await self._begin()
        return await asyncio.to_thread(reading.checkpoint_file, self._folder(run_id), step, name)

    @ray.method
    async def evidence(self, run_id: str) -> dict[str, Any]:
        """Return the files of a run's pack with size and digest."""
        await self._begin()
        return await asyncio.to_thread(reading.evidence, self._folder(run_id))

    @ray.method(num_returns="streaming")
    async def evidence_zip(self, run_id: str) -> AsyncIterator[bytes]:
        """Yield the pack as a zip, in pieces."""
        await self._begin()
        pieces = reading.evidence_zip(self._folder(run_id))
        while (piece := await asyncio.to_thread(next, pieces, None)) is not None:
            yield piece

    @ray.method
    async def predict(self, run_id: str, step: int | None, images: list[Any]) -> dict[str, Any]:
        """Classify images with a checkpoint."""
        await self._begin()
        folder = self._folder(run_id)
        pixels = as_images(images, dataset=folder.config.dataset)
        chosen, model = await asyncio.to_thread(reading.model_file, folder, step)
        answer = await classify_on_cluster(folder.config, model, pixels)
        return {"run_id": run_id, "step": chosen, "predictions": answer}

    @ray.method
    async def models(self, offset: int, limit: int) -> dict[str, Any]:
        """Return one page of finished models, newest first."""
        await self._begin()
        return self._manager.models(offset=offset, limit=limit)

    @ray.method
    async def datasets(self) -> list[dict[str, Any]]:
        """Return the data sets and whether they are here."""
        await self._begin()
        return await self._manager.shelf.views()

    @ray.method
    async def fetch_dataset(self, name: str, who: Who) -> dict[str, Any]:
        """Start to fetch a data set."""
        await self._begin()
        return await self._manager.shelf.fetch(name, who=who)

    @ray.method
    async def dataset_files(self, name: str) -> dict[str, bytes]:
        """Return the raw files of a data set that is here, for a node without it."""
        await self._begin()
        return await self._manager.shelf.files(name)

    @ray.method
    async def nodes(self) -> list[dict[str, Any]]:
        """Return the nodes and their devices, as probed."""
        return await self._devices.views()

    @ray.method
    async def collect(
        self,
        policy: dict[str, Any],
        who: Who,
        dry_run: bool,  # noqa: FBT001 - Ray's typed calls take no keywords
    ) -> list[dict[str, Any]]:
        """Delete ended runs beyond a policy (fields of `Retention`)."""
        await self._begin()
        return self._manager.collect(Retention(**policy), who=who, dry_run=dry_run)

    @ray.method
    async def health(self) -> dict[str, Any]:
        """Return what readiness asks of the manager."""
        await self._begin()
        return await self._manager.health()

    async def _has_canary_data(self) -> bool:
        return bool((await self._manager.shelf.view(DATASET))["state"] == "ready")

    def _canary_view(self) -> dict[str, Any]:
        if not self._settings.canary:
            return {"state": "no data", "detail": "switched off by ZEROPOINT_CANARY=0"}
        return self._canary.view()

    @ray.method
    async def canary(self) -> dict[str, Any]:
        """Have the canary done again, and return what is known of it now."""
        await self._begin()
        if not self._settings.canary:
            raise Conflict("the canary is switched off", cure="start with ZEROPOINT_CANARY=1")
        return self._canary.again()

    @ray.method
    async def log_view(self) -> dict[str, Any]:
        """Return key, size and witnesses of the log."""
        await self._begin()
        return self._manager.notary.log_view()

    @ray.method
    async def log_head(self) -> bytes:
        """Return the present tree head of the log."""
        await self._begin()
        return self._manager.notary.head()

    @ray.method
    async def log_tile(self, path: str) -> bytes:
        """Return a tile of the log."""
        await self._begin()
        return self._manager.notary.tile(path)

    @ray.method
    async def log_inclusion(self, index: int, size: int | None) -> dict[str, Any]:
        """Return a proof of inclusion; without a size, in the present tree."""
        await self._begin()
        return self._manager.notary.inclusion_view(index, size)

    @ray.method
    async def log_consistency(self, old_size: int, size: int | None) -> dict[str, Any]:
        """Return a proof of consistency; without a size, with the present tree."""
        await self._begin()
        return self._manager.notary.consistency_view(old_size, size)

    @ray.method
    async def records(self, run_id: str) -> bytes:
        """Return the signed records of a run so far, a line each."""
        await self._begin()
        return b"".join(line + b"\n" for line in self._folder(run_id).records.lines)

    @ray.method
    async def verified(self, run_id: str, verdict: str, summary: str, who: Who) -> None:
        """Note what a verification of a run found."""
        await self._begin()
        self._manager.registry.folder(run_id)
        self._manager.verdicts.note(run_id, verdict=verdict, summary=summary, who=who)

    @ray.method
    async def audit_run(self, run_id: str, windows: Mapping[str, Any], who: Who) -> dict[str, Any]:
        """Take in an audit of a run."""
        await self._begin()
        return await self._manager.carry_through(self._manager.audit_run(run_id, windows, who=who))

    @ray.method
    async def audit_view(self, audit_id: str) -> dict[str, Any]:
        """Return one audit."""
        await self._begin()
        return self._manager.audits.view(audit_id)

    @ray.method
    async def audit_page(self, offset: int, limit: int) -> dict[str, Any]:
        """Return one page of audits, newest first."""
        await self._begin()
        return self._manager.audits.page(offset=offset, limit=limit)

    @ray.method
    async def keys(self) -> bytes:
        """Return the history of the service's keys."""
        await self._begin()
        return self._manager.notary.keyring.history

    @ray.method
    async def attempt_started(
        self, run_id: str, attempt: int, model: dict[str, Any], provenance: dict[str, Any]
    ) -> None:
        """Take in what a trainer found before step 0."""
        await self._begin()
        await self._manager.attempt_started(run_id, attempt, model=model, provenance=provenance)

    @ray.method
    async def report(
        self, run_id: str, attempt: int, first_n: int, events: Sequence[TrainingEvent]
    ) -> None:
        """Take in a trainer's events."""
        await self._begin()
        await self._manager.report(run_id, attempt, first_n, events)


def _has_failed(task: asyncio.Task[None]) -> bool:
    return task.done() and (task.cancelled() or task.exception() is not None)


_Remote = ray.remote(ManagerActor)


def start_or_find(settings: Settings) -> "ActorProxy[ManagerActor]":
    """Return the service's manager, started on the head node if it is not there.

    Args:
        settings: What a new manager gets; one that lives keeps its own.
    """
    return _Remote.options(
        name=MANAGER,
        namespace=NAMESPACE,
        lifetime="detached",
        get_if_exists=True,
        num_cpus=0,
        resources={HEAD_NODE: 0.001},
        max_restarts=-1,
        max_task_retries=0,
        max_concurrency=_MOST_CALLS,
        runtime_env={"env_vars": as_environment(settings)},
    ).remote()
