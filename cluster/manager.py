"""The manager: takes runs in, places them, supervises their trainers, answers readers.

Plain asyncio without Ray: the cluster is behind the `Launcher` that is passed in. It holds no
truth of its own; everything is in the run folders and the service journal, from which a new
manager rebuilds itself. The rules it applies live in `states`, `limits`, `placement`.
"""

import asyncio
import shutil
from collections.abc import Awaitable, Callable, Coroutine, Mapping, Sequence
from typing import Any, TypeVar, cast

import structlog

from cluster import fair_share, reading, views
from cluster.account_desk import AccountDesk
from cluster.anchor import JournalAnchor
from cluster.audit import AuditJournal, Who
from cluster.audits import AuditDesk, Work
from cluster.datasets import DatasetShelf
from cluster.launching import Launcher, require_ray_train
from cluster.limits import require_space, require_within
from cluster.notary import Notary
from cluster.placement import Node, Place, Wait, choose, reservation
from cluster.proposal_desk import ProposalDesk
from cluster.pulse import Pulse
from cluster.registry import Registry
from cluster.retention import Held, Retention
from cluster.retention import choose as choose_expired
from cluster.run_folder import RunFolder, folder_bytes
from cluster.sealing import keep_beginning, seal_run, witness_beginning
from cluster.settings import Settings
from cluster.states import RESUMABLE, advance
from cluster.supervision import Ending, NodeLost, Supervisor
from evidence.clock import Clock, moment, utc_now
from evidence.errors import Conflict, RateLimited, StorageFull
from evidence.records import Beginning, Checkpoint, Fault, Placement, RunState, TrainingEvent
from trainers import recipes
from trainers.config import DeviceName

log = structlog.get_logger()

T = TypeVar("T")

_STORAGE_RETRY_S = 2.0
_SCHEDULE_S = 2.0
_START_S = 5.0

INTERRUPTING = frozenset({StorageFull.code})
"""Faults after which a run is interrupted, not failed: it can go on when they are cured."""


class Manager:
    """Owner of all runs of a service.

    Args:
        settings: Paths and limits.
        launcher: The cluster.
        notary: The service's keys and log.
        auditors: Who does audits.
        clock: Where timestamps come from.
        count: Called with ("event", kind) and ("error", code) for the operators' metrics.
    """

    def __init__(
        self,
        settings: Settings,
        launcher: Launcher,
        notary: Notary,
        auditors: Work,
        *,
        clock: Clock = utc_now,
        count: Callable[[str, str], None] = lambda _name, _label: None,
    ) -> None:
        self.settings = settings
        self.audit = AuditJournal(settings.home / "audit.jsonl", clock=clock)
        self.anchor = JournalAnchor(self.audit, notary)
        self.accounts = AccountDesk(settings, self.audit, clock=clock)
        self.registry = Registry(settings.runs_root, self.audit, clock=clock, notary=notary)
        self._audit_pulse = Pulse()
        self.proposals = ProposalDesk(
            settings,
            notary=notary,
            registry=self.registry,
            journal=self.audit,
            pulse=self._audit_pulse,
            clock=clock,
        )
        self.shelf = DatasetShelf(settings, self.audit)
        self.audits = AuditDesk(
            settings.home / "audits",
            notary=notary,
            journal=self.audit,
            clock=clock,
            work=auditors,
        )
        self.canary_view: Callable[[], dict[str, Any]] = lambda: {
            "state": "no data",
            "detail": "nobody does it here",
        }
        """What is known of the canary, which whoever runs this manager does."""
        self._clock = clock
        self._count = count
        self._launcher = launcher
        self.notary = notary
        self._supervisor = Supervisor(
            launcher,
            require_data=self._require_data,
            clock=clock,
            changed=self._changed,
        )
        self._supervisors: dict[str, asyncio.Task[None]] = {}
        self._places: dict[str, Place] = {}
        self._waiting: dict[str, str] = {}
        self._sealing: dict[str, int] = {}
        self._witnessing: dict[str, asyncio.Task[None]] = {}
        self._run_pulse: dict[str, Pulse] = {}
        self._queue_pulse = Pulse()
        self._scheduler: asyncio.Task[None] | None = None
        self._mending: set[asyncio.Task[None]] = set()
        self._changes: set[asyncio.Task[Any]] = set()

    async def start(self, *, session: str) -> None:
        """Rebuild from disk: seal what ended, adopt or interrupt what was running, then schedule.

        Args:
            session: Name of the cluster's session. If it is the one of the last start, only the
                manager was lost and trainers may still live; else the cluster was lost.
        """
        same_cluster = self.audit.last_session() == session
        self.audit.append("service.started", who="service", session=session)
        for folder in self.registry.unsealed():
            self._sealing[folder.run_id] = folder.summary.status_seq - 1
            self._mend(self._seal(folder))
        for folder in self.registry.in_state(RunState.RUNNING):
            if same_cluster:
                self._adopt(folder)
            else:
                self._supervisors[folder.run_id] = self._mend(self._interrupt(folder))
        if self._mending:  # a full disk must not keep the doors shut: deleting is behind them
            await asyncio.wait(self._mending, timeout=_START_S)
        self._scheduler = asyncio.create_task(self._schedule_for_ever())

    def _mend(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = asyncio.create_task(work)
        self._mending.add(task)
        task.add_done_callback(self._mending.discard)
        return task

    async def _interrupt(self, folder: RunFolder) -> None:
        reason = "the cluster was lost while it ran; resume it"
        await self._move(folder, RunState.INTERRUPTED, reason)
        self._leave(folder.run_id)

    async def _require_data(self, dataset: str) -> None:
        await self.shelf.require(dataset)

    def _leave(self, run_id: str) -> None:
        """Forget this task as the supervisor of a run, which may have got another one."""
        if self._supervisors.get(run_id) is asyncio.current_task():
            del self._supervisors[run_id]

    # -- the doors: HTTP and Ray jobs both come here -------------------------------------------

    async def carry_through(self, change: Coroutine[Any, Any, T]) -> T:
        """Return what a change returns; it goes on to its end though its asker goes away.

        A client that disconnects cancels the call that it made. A change that has begun must not
        stop between two of its steps.
        """
        task = asyncio.create_task(change)
        self._changes.add(task)
        task.add_done_callback(self._changes.discard)
        return await asyncio.shield(task)

    async def submit(
        self, request: Mapping[str, Any], *, who: Who, idempotency_key: str | None = None
    ) -> dict[str, Any]:
        """Take in a run and return its view.

        Raises:
            ConfigError: The request is no config, or over a limit.
            NotInstalled: It asks for several workers, and Ray Train is not here.
            Conflict: The key was used with another config.
            RateLimited: The queue is full, or the caller's quota is used up; a run that its key
                finds is returned nevertheless.
            StorageFull: The disk is nearly full; as above.
        """
        config = recipes.resolve(request)
        if config.workers > 1:
            require_ray_train()
        earlier = self.registry.of_key(idempotency_key, config)
        if earlier is not None:
            return self.view(earlier.run_id)
        require_within(config, self.settings.limits)
        require_space(self.settings.runs_root, self.settings.limits)
        self.accounts.require_quota(who, steps=config.steps)
        counts = self.registry.count()
        if counts[RunState.QUEUED] + counts[RunState.RUNNING] >= self.settings.limits.max_live_runs:
            raise RateLimited(
                f"{self.settings.limits.max_live_runs} runs are queued and running, "
                "the limit max_live_runs",
                field="max_live_runs",
            )
        folder = self.registry.create(config, who=who, idempotency_key=idempotency_key)
        log.info("run_submitted", run_id=folder.run_id, recipe=config.recipe)
        self._changed(folder)
        self._queue_pulse.fire()
        return self.view(folder.run_id)

    async def cancel(self, run_id: str, *, who: Who) -> dict[str, Any]:
        """End a run for good and seal what it has.

        Raises:
            Conflict: The run has ended already.
        """
        folder = self.registry.folder(run_id)
        if folder.summary.state.is_final or run_id in self._sealing:
            raise Conflict(
                f"run {run_id} is {folder.summary.state}; only a run that has not ended can be "
                "cancelled",
                field="status",
            )
        if folder.summary.state is RunState.FAILED:
            raise Conflict(f"run {run_id} is failed; resume it or leave it", field="status")
        task = self._supervisors.pop(run_id, None)
        if task:
            task.cancel()
        await self._launcher.kill(run_id, folder.summary.attempt)
        self._places.pop(run_id, None)
        self._waiting.pop(run_id, None)
        await self._end(folder, RunState.CANCELLED, f"cancelled by {who}", who=who)
        self._queue_pulse.fire()
        return self.view(run_id)

    async def resume(self, run_id: str, *, who: Who) -> dict[str, Any]:
        """Put an interrupted or failed run back into the queue.

        Raises:
            Conflict: The run is in another state.
        """
        folder = self.registry.folder(run_id)
        if folder.summary.state not in RESUMABLE:
            raise Conflict(
                f"run {run_id} is {folder.summary.state}; only an interrupted or failed run can be "
                "resumed",
                field="status",
                expected="interrupted or failed",
                found=folder.summary.state,
            )
        await self._move(folder, RunState.QUEUED, f"resumed by {who}", who=who)
        self._queue_pulse.fire()
        return self.view(run_id)

    async def audit_run(
        self, run_id: str, windows: Mapping[str, Any], *, who: Who
    ) -> dict[str, Any]:
        """Take in an audit of a run and return its view.

        Raises:
            NotFound: There is no such run.
            Conflict: The run is not sealed yet.
            RateLimited: Too many audits are queued and running.
        """
        view = self.audits.submit(self.registry.folder(run_id), windows, who=who)
        self._queue_pulse.fire()
        return view

    # -- what trainers say ---------------------------------------------------------------------

    async def attempt_started(
        self, run_id: str, attempt: int, *, model: dict[str, Any], provenance: dict[str, Any]
    ) -> None:
        """Take in what a trainer found before step 0.

        Raises:
            Conflict: The attempt is not the current one.
            IntegrityError: The model differs from the first attempt's.
        """
        folder = self.registry.folder(run_id)
        folder.require_current(attempt)
        folder.write_description(model, views.provenance(folder, provenance))

    async def report(
        self, run_id: str, attempt: int, first_n: int, events: Sequence[TrainingEvent]
    ) -> None:
        """Take in a trainer's events, numbered from `first_n` within the attempt.

        Raises:
            Conflict: The attempt is not the current one.
            ReplayMismatch: A step done again measured something else.
            LimitExceeded: The run's folder would grow too large.
            StorageFull: The disk took no more.
        """
        folder = self.registry.folder(run_id)
        try:
            for n, event in enumerate(events, first_n):
                folder.report(
                    event,
                    attempt=attempt,
                    n=n,
                    max_bytes=self.settings.limits.max_run_bytes,
                )
                self._count("event", _kind_of(event))
                if isinstance(event, Beginning):
                    self._ask_witnesses(folder)
        finally:
            self._changed(folder)

    # -- readers -------------------------------------------------------------------------------

    def view(self, run_id: str) -> dict[str, Any]:
        """Return what the API shows of a run.

        Raises:
            NotFound: There is no such run.
        """
        folder = self.registry.folder(run_id)
        pending = self._waiting.get(run_id) if folder.summary.state is RunState.QUEUED else None
        return views.run(folder, pending_reason=pending, is_sealing=run_id in self._sealing)

    def models(self, *, offset: int, limit: int) -> dict[str, Any]:
        """Return one page of the models of runs that succeeded, newest first."""
        folders, total = self.registry.page(state=RunState.SUCCEEDED, offset=offset, limit=limit)
        return {"models": [reading.finished_model(folder) for folder in folders], "total": total}

    def page(self, *, state: RunState | None, offset: int, limit: int) -> dict[str, Any]:
        """Return one page of runs, newest first."""
        folders, total = self.registry.page(state=state, offset=offset, limit=limit)
        return {"runs": [self.view(folder.run_id) for folder in folders], "total": total}

    async def events(
        self, run_id: str | None, *, after: int, limit: int, wait_s: float
    ) -> list[bytes]:
        """Return journal lines with a seq above `after`; wait up to `wait_s` for the first.

        Args:
            run_id: A run, or None for the service journal.
            after: Sequence number, exclusive.
            limit: Most lines.
            wait_s: Seconds to wait when there are none; 0 does not wait.
        """
        pulse = self._audit_pulse if run_id is None else self._pulse_of(run_id)
        lines = self._lines(run_id, after=after, limit=limit)
        if not lines and wait_s > 0:
            await pulse.wait(wait_s)
            lines = self._lines(run_id, after=after, limit=limit)
        return lines

    def _lines(self, run_id: str | None, *, after: int, limit: int) -> list[bytes]:
        if run_id is None:
            return self.audit.lines(after=after, limit=limit)
        folder = self.registry.folder(run_id)
        last = self.last_visible(run_id)
        return folder.event_lines(after=after, limit=max(0, min(limit, last - after)))

    def last_visible(self, run_id: str) -> int:
        """Return the newest seq that readers see: the end of a run is not shown before its seal.

        Raises:
            NotFound: There is no such run.
        """
        return self._sealing.get(run_id, self.registry.folder(run_id).summary.last_seq)

    @property
    def is_idle(self) -> bool:
        """Whether no run is queued or running, and no audit."""
        counts = self.registry.count()
        live = counts[RunState.QUEUED] + counts[RunState.RUNNING] + len(self._sealing)
        return not live and not self.audits.places and not self.audits.is_waiting

    async def health(self) -> dict[str, Any]:
        """Return what readiness asks of the manager."""
        free = shutil.disk_usage(self.settings.runs_root).free
        return {
            "runs": {state.value: count for state, count in self.registry.count().items()},
            "free_bytes": free,
            "min_free_bytes": self.settings.limits.min_free_bytes,
            "key_id": self.notary.key_id,
            "log": self.notary.log_view(),
            "audit_seq": self.audit.last_seq,
            "datasets": await self.shelf.views(),
            "canary": self.canary_view(),
            "phase": self.proposals.phase,
        }

    def collect(self, policy: Retention, *, who: Who, dry_run: bool) -> list[dict[str, Any]]:
        """Delete ended runs beyond the policy, each leaving a tombstone; or only say which."""
        final = self.registry.in_state(RunState.SUCCEEDED, RunState.CANCELLED)
        held = [
            Held(folder.run_id, moment(folder.summary.ended), folder_bytes(folder.paths.root))
            for folder in final
            if folder.is_sealed and folder.summary.ended
        ]
        chosen = choose_expired(held, policy, now=self._clock())
        if dry_run:
            return [{"run_id": run_id, "reason": reason} for run_id, reason in chosen.items()]
        return [
            self.registry.delete(run_id, who=who, reason=reason)
            for run_id, reason in chosen.items()
        ]

    # -- the queue -----------------------------------------------------------------------------

    async def _schedule_for_ever(self) -> None:
        while True:
            try:
                await self._schedule()
            except Exception:  # the scheduler must outlive one bad pass; it is logged whole
                log.exception("scheduling_failed")
            await self._queue_pulse.wait(_SCHEDULE_S)

    async def _schedule(self) -> None:
        queued = self.registry.in_state(RunState.QUEUED)
        if not queued and not self.audits.is_waiting:
            return
        nodes = await self._launcher.nodes()
        await self._schedule_runs(queued, nodes)
        self.audits.schedule(nodes, self._taken())

    async def _schedule_runs(self, queued: Sequence[RunFolder], nodes: Sequence[Node]) -> None:
        blocked: set[str] = set()
        for folder in self._in_turn(queued):
            if folder.summary.state is not RunState.QUEUED:
                continue
            decision = self._decide(folder, nodes)
            if isinstance(decision, Place) and folder.config.device not in blocked:
                self._waiting.pop(folder.run_id, None)
                await self._launch(folder, decision)
                continue
            if not (isinstance(decision, Wait) and decision.is_alone):
                blocked.add(folder.config.device)
            ahead = "another run for the same device waits, and is next"
            self._waiting[folder.run_id] = decision.reason if isinstance(decision, Wait) else ahead

    def _in_turn(self, queued: Sequence[RunFolder]) -> list[RunFolder]:
        """Return queued runs in the order of their turn; see `fair_share`."""
        running = self.registry.in_state(RunState.RUNNING)
        ledger = self.accounts.ledger
        held = ledger.slots_held({folder.run_id: _slots(folder) for folder in running})
        folders = {folder.run_id: folder for folder in queued}
        waiting = [
            fair_share.Waiting(run_id, ledger.owner_of(run_id), _slots(folder))
            for run_id, folder in folders.items()
        ]
        return [folders[run_id] for run_id in fair_share.order(waiting, held)]

    def _taken(self) -> dict[str, list[Mapping[str, float]]]:
        """Return what trainers and audits hold, by node."""
        taken: dict[str, list[Mapping[str, float]]] = {}
        for place in (*self._places.values(), *self.audits.places.values()):
            for node_id in place.nodes:
                taken.setdefault(node_id, []).append(place.resources)
        return taken

    def _decide(self, folder: RunFolder, nodes: Sequence[Node]) -> Place | Wait:
        earlier = folder.summary.placement if folder.is_described else None
        return choose(
            folder.config,
            nodes=nodes,
            taken=self._taken(),
            pinned_device=_device(earlier) if earlier else None,
        )

    async def _launch(self, folder: RunFolder, place: Place) -> None:
        self._places[folder.run_id] = place
        placement = Placement(
            node=place.node_id,
            nodes=place.nodes if place.is_group else None,
            device=place.device,
            why=place.why,
        )
        is_first = folder.summary.attempt == 0
        await self._move(folder, RunState.RUNNING, "placed", placement=placement)
        self._supervise(folder, place, starts=True, resumes=not is_first)

    # -- supervision ---------------------------------------------------------------------------

    def _adopt(self, folder: RunFolder) -> None:
        """Go on with a run whose trainer may have outlived the manager."""
        placement = folder.summary.placement
        assert placement is not None, "a running run was placed"
        device = _device(placement)
        held = reservation(device, threads=folder.config.threads)
        nodes = placement.nodes or (placement.node,)
        place = Place(nodes, device, held, placement.why)
        self._places[folder.run_id] = place
        self._supervise(folder, place, starts=False, resumes=False)

    def _supervise(self, folder: RunFolder, place: Place, *, starts: bool, resumes: bool) -> None:
        task = asyncio.create_task(self._attempts(folder, place, starts=starts, resumes=resumes))
        self._supervisors[folder.run_id] = task

    async def _attempts(
        self, folder: RunFolder, place: Place, *, starts: bool, resumes: bool
    ) -> None:
        """Run attempts until the run ends; this task is the only one that moves a running run."""
        ending = await self._supervisor.attempts(folder, place, starts=starts, resumes=resumes)
        self._places.pop(folder.run_id, None)
        self._queue_pulse.fire()
        await self._conclude(folder, ending)
        self._leave(folder.run_id)

    async def _conclude(self, folder: RunFolder, ending: Ending) -> None:
        if ending is None:
            await self._end(folder, RunState.SUCCEEDED, "all steps are done", who="service")
        elif isinstance(ending, NodeLost):
            await self._move(folder, RunState.INTERRUPTED, "its node left the cluster")
            await self._move(folder, RunState.QUEUED, "waits for another node")
            self._queue_pulse.fire()
        else:
            self._count("error", ending.code)
            to = RunState.INTERRUPTED if ending.code in INTERRUPTING else RunState.FAILED
            await self._move(folder, to, ending.detail, error=ending)

    # -- changes of state ----------------------------------------------------------------------

    async def _move(
        self,
        folder: RunFolder,
        to: RunState,
        reason: str,
        *,
        who: Who = "service",
        placement: Placement | None = None,
        error: Fault | None = None,
    ) -> None:
        """Move a run, waiting for space if the disk is full, and tell everyone."""
        await _with_space(lambda: folder.move(to, reason[:2000], placement=placement, error=error))
        await self._tell(folder, who=who)

    async def _end(self, folder: RunFolder, to: RunState, reason: str, *, who: Who) -> None:
        """Move a run to a final state; readers see it when the pack is sealed, not before."""
        advance(folder.summary.state, to)
        self._sealing[folder.run_id] = folder.summary.last_seq
        await _with_space(lambda: folder.move(to, reason[:2000]))
        await self._seal(folder, who=who)

    def _ask_witnesses(self, folder: RunFolder) -> None:
        """Ask in the background; of an attempt that goes on, again, if nobody cosigned before."""
        asking = self._witnessing.get(folder.run_id)
        if asking is None or asking.done():
            self._witnessing[folder.run_id] = asyncio.create_task(self._witness(folder))

    async def _witness(self, folder: RunFolder) -> None:
        """Have witnesses cosign that the run is committed to, while it goes on."""
        try:
            proof = await asyncio.to_thread(witness_beginning, folder, self.notary)
            if proof is not None:
                keep_beginning(folder, proof)
        except StorageFull as full:  # the seal tells that there is none
            log.warning("beginning_not_kept", run_id=folder.run_id, cause=full.detail)

    async def _seal(self, folder: RunFolder, *, who: Who = "service") -> None:
        witnessing = self._witnessing.pop(folder.run_id, None)
        if witnessing is not None:
            await asyncio.wait({witnessing})  # a run is sealed whatever came of it
        await _with_space(folder.complete_end)
        await _with_space(lambda: self._make_pack(folder))
        self._sealing.pop(folder.run_id, None)
        await self._tell(folder, who=who)
        self.registry.sealed(folder)

    async def _make_pack(self, folder: RunFolder) -> None:
        absent = await asyncio.to_thread(seal_run, folder, self.notary)
        for name, why in absent.items():
            said = {"run_id": folder.run_id, "witness": name, "reason": why[:500]}
            self.audit.append("witness.absent", who="service", **said)

    async def _tell(self, folder: RunFolder, *, who: Who) -> None:
        """Tell everyone the state that a run came to."""
        await _with_space(lambda: self.registry.moved(folder, who=who))
        summary = folder.summary
        log.info("run_moved", run_id=folder.run_id, state=summary.state, reason=summary.reason)
        self._changed(folder)

    def _changed(self, folder: RunFolder) -> None:
        self._pulse_of(folder.run_id).fire()
        self._audit_pulse.fire()

    def _pulse_of(self, run_id: str) -> Pulse:
        self.registry.folder(run_id)
        return self._run_pulse.setdefault(run_id, Pulse())


def _device(placement: Placement) -> DeviceName:
    return cast("DeviceName", placement.device)


def _slots(folder: RunFolder) -> int:
    """Return the CPU slots that a run takes on all its nodes."""
    return folder.config.threads * folder.config.workers


def _kind_of(event: TrainingEvent) -> str:
    match event:
        case Checkpoint():
            return event.record.kind
        case Beginning():
            return "beginning"
        case _:
            return event.kind


async def _with_space(act: Callable[[], Awaitable[None] | None]) -> None:
    """Do something that writes, again and again while the disk is full; it is all or nothing."""
    while True:
        try:
            waiting = act()
            if waiting is not None:
                await waiting
        except StorageFull as full:
            log.warning("write_waits_for_space", cause=full.detail)
            await asyncio.sleep(_STORAGE_RETRY_S)
        else:
            return
