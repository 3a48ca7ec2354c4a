"""Audits that a service does of its own runs: windows trained again, on another node if it can.

An audit proves to whoever asks that this cluster trains the same bits again; whoever trusts nobody
here audits on a machine of their own. Its outcome is signed, logged, and kept beside the runs.
"""

import asyncio
import re
import secrets
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import structlog

from cluster.audit import AuditJournal, Who
from cluster.notary import Notary
from cluster.placement import Node, Place, Taken, Wait, choose
from cluster.pulse import Pulse
from cluster.run_folder import RunFolder
from evidence import canonical, digest, files
from evidence.clock import Clock, timestamp
from evidence.errors import Conflict, NotFound, RateLimited, ServiceError, StorageFull
from evidence.signing import statement

log = structlog.get_logger()

PREDICATE_TYPE: Final = "urn:zeropoint:audit:v1"
"""`predicateType` of the statement that tells an audit's outcome."""

MOST_LIVE = 20
"""Most audits queued and running together."""

MOST_KEPT = 1_000
"""Audits that are listed; older files stay on the disk."""

_LOOK_S = 5.0

_ID = re.compile(r"[0-9a-f]{12}")
_QUEUED, _RUNNING, _DONE, _FAILED = "queued", "running", "done", "failed"


@dataclass(frozen=True, slots=True)
class Order:
    """What an auditor on a node is told."""

    audit_id: str
    run_id: str
    windows: Mapping[str, Any]
    """Fields of `trainers.windows.Request`."""
    place: Place


Work = Callable[[Order], Awaitable[dict[str, Any]]]
"""Does an audit on its node and returns the report."""


class AuditDesk:
    """The audits of a service.

    Args:
        folder: Where their records are; made if it is not there.
        notary: Signs and logs what came out.
        journal: The service journal.
        clock: Where timestamps come from.
        work: Does an audit.
    """

    def __init__(
        self, folder: Path, *, notary: Notary, journal: AuditJournal, clock: Clock, work: Work
    ) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._folder = folder
        self._notary = notary
        self._journal = journal
        self._clock = clock
        self._work = work
        self._views: dict[str, dict[str, Any]] = {}
        self._queue: dict[str, RunFolder] = {}
        self.places: dict[str, Place] = {}
        """Where audits run; they hold slots as trainers do."""
        self._tasks: set[asyncio.Task[None]] = set()
        self._moved = Pulse()
        self._read()

    def _read(self) -> None:
        """Take in what is on the disk; an audit that a stop cut off has failed."""
        names = sorted(self._folder.glob("*.json"), key=lambda path: path.stat().st_mtime)
        for path in names[-MOST_KEPT:]:
            if not _ID.fullmatch(path.stem):
                continue
            view = canonical.decode_object(path.read_bytes())
            self._views[path.stem] = view
            if view["status"] in (_QUEUED, _RUNNING):
                reason = "the service stopped before it was done; ask for it again"
                self._write(path.stem, status=_FAILED, reason=reason)

    # -- the door ----------------------------------------------------------------------------

    def submit(self, folder: RunFolder, windows: Mapping[str, Any], *, who: Who) -> dict[str, Any]:
        """Take in an audit of a run and return its view.

        Raises:
            Conflict: The run is not sealed yet.
            RateLimited: Too many are queued and running.
            StorageFull: The disk took no more.
        """
        if not folder.is_sealed:
            raise Conflict(
                f"run {folder.run_id} is not sealed; only a run that has ended can be audited",
                field="run_id",
            )
        if len(self._queue) + len(self._tasks) >= MOST_LIVE:
            raise RateLimited(f"{MOST_LIVE} audits are queued and running; try again later")
        audit_id = secrets.token_hex(6)
        self._write(
            audit_id,
            run_id=folder.run_id,
            status=_QUEUED,
            reason="waits for a node",
            windows=dict(windows),
            created=self._now(),
            ended=None,
            node=None,
            report=None,
            envelope=None,
            log_index=None,
            proof=None,
        )
        self._journal.append("audit.requested", who=who, audit_id=audit_id, run_id=folder.run_id)
        self._queue[audit_id] = folder
        return self.view(audit_id)

    def view(self, audit_id: str) -> dict[str, Any]:
        """Return one audit.

        Raises:
            NotFound: There is none of that id.
        """
        if audit_id not in self._views:
            raise NotFound(f"there is no audit {audit_id[:40]}", field="audit_id", found=audit_id)
        return self._views[audit_id]

    async def ended(self, audit_id: str) -> dict[str, Any]:
        """Return an audit as soon as it is done or has failed.

        Raises:
            NotFound: There is none of that id.
        """
        while self.view(audit_id)["status"] in (_QUEUED, _RUNNING):
            await self._moved.wait(_LOOK_S)
        return self.view(audit_id)

    @property
    def is_waiting(self) -> bool:
        """Whether an audit waits for a node."""
        return bool(self._queue)

    def page(self, *, offset: int, limit: int) -> dict[str, Any]:
        """Return one page of audits, newest first."""
        newest = list(reversed(self._views.values()))
        return {"audits": newest[offset : offset + limit], "total": len(newest)}

    # -- the queue ---------------------------------------------------------------------------

    def schedule(self, nodes: Sequence[Node], taken: Taken) -> None:
        """Start what finds room, the oldest first."""
        for audit_id, folder in list(self._queue.items()):
            place = _place(folder, nodes, taken)
            if isinstance(place, Wait):
                self._views[audit_id]["reason"] = place.reason
                return
            del self._queue[audit_id]
            self.places[audit_id] = place
            self._write(audit_id, status=_RUNNING, reason=place.why, node=place.node_id)
            task = asyncio.create_task(self._carry_out(audit_id, place))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
            return  # what is taken has changed

    async def _carry_out(self, audit_id: str, place: Place) -> None:
        view = self._views[audit_id]
        order = Order(audit_id, view["run_id"], view["windows"], place)
        try:
            report = await self._work(order)
            self._conclude(audit_id, report)
        except ServiceError as error:
            self._fail(audit_id, error.detail)
        except Exception as error:  # an audit that breaks must not take the manager along
            log.exception("audit_failed", audit_id=audit_id)
            self._fail(audit_id, f"{type(error).__name__}: {error}")
        finally:
            self.places.pop(audit_id, None)

    def _conclude(self, audit_id: str, report: dict[str, Any]) -> None:
        run_id = self._views[audit_id]["run_id"]
        said = statement(
            {f"run/{run_id}/audit": digest.of_record(report)},
            predicate_type=PREDICATE_TYPE,
            predicate={
                "v": 1,
                "audit_id": audit_id,
                "run_id": run_id,
                "verdict": report["verdict"],
                "summary": report["summary"],
                "report_sha256": digest.of_record(report),
            },
        )
        envelope = self._notary.sign(said)
        (place,) = self._notary.enter([envelope])
        self._write(
            audit_id,
            status=_DONE,
            reason=report["summary"],
            ended=self._now(),
            report=report,
            envelope=canonical.decode_object(envelope),
            log_index=place,
            proof=self._notary.proof_of(place),
        )
        self._journal.append(
            "audit.done", who="service", audit_id=audit_id, run_id=run_id,
            verdict=report["verdict"], log_index=place,
        )  # fmt: skip

    def _fail(self, audit_id: str, reason: str) -> None:
        """Tell that an audit failed; where the disk takes it not, the next start tells it again."""
        changes = {"status": _FAILED, "reason": reason[:2000], "ended": self._now()}
        try:
            self._write(audit_id, **changes)
        except StorageFull as full:
            log.warning("audit_not_written", audit_id=audit_id, cause=full.detail)
            self._views[audit_id] = {**self._views[audit_id], **changes}

    def _write(self, audit_id: str, **changes: Any) -> None:
        view = {**self._views.get(audit_id, {}), "audit_id": audit_id, **changes}
        files.write_atomic(self._folder / f"{audit_id}.json", canonical.encode(view))
        self._views[audit_id] = view
        self._moved.fire()

    def _now(self) -> str:
        return timestamp(self._clock())


def _place(folder: RunFolder, nodes: Sequence[Node], taken: Taken) -> Place | Wait:
    """Return where a run is audited: on a node that did not train it, where there is one."""
    placement = folder.summary.placement
    trained = set() if placement is None else {placement.node, *(placement.nodes or ())}
    config = folder.config
    alone = config.model_copy(update={"workers": 1, "threads": config.threads * config.workers})
    others = [node for node in nodes if node.node_id not in trained]
    decision = choose(alone, nodes=others, taken=taken) if others else Wait("no other node")
    if isinstance(decision, Wait) and (not others or decision.is_alone):
        decision = choose(alone, nodes=nodes, taken=taken)
    return decision
