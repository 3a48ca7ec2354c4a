"""One run's folder and its one writer.

Order of writing: events.jsonl first (it owns the sequence numbers), then metrics.jsonl; a
checkpoint's bytes before its record. Whatever a crash leaves between two of these is mended by
`open_folder`. Only the current attempt may report; a step done again is compared, not rewritten.
"""

import os
import shutil
from array import array
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from cluster import checkpoints
from cluster.checkpoints import Phase
from cluster.notary import Notary
from cluster.record_book import RecordBook
from cluster.states import advance
from cluster.summary import RunSummary
from cluster.verdict_book import VerdictBook
from evidence import canonical, digest, files, pack
from evidence import journal as journals
from evidence.binding import Code, Commitment, Place
from evidence.clock import Clock, timestamp
from evidence.derived import complete_metrics, metric_line
from evidence.errors import (
    Conflict,
    IntegrityError,
    LimitExceeded,
    ReplayMismatch,
    ServiceError,
    StorageFull,
)
from evidence.journal import Journal
from evidence.pack import PackPaths
from evidence.records import (
    REPEATABLE,
    Beginning,
    Checkpoint,
    CheckpointAction,
    CheckpointRecord,
    End,
    EventKind,
    Fault,
    Log,
    LogLevel,
    Metric,
    Placement,
    RunState,
    Status,
    TrainingEvent,
)
from trainers.config import RunConfig

BUILDING = ".building-"
"""How the folder of a run is called until it is whole."""


class RunFolder:
    """The writer of one run folder. Make it with `create` or `open_folder`."""

    def __init__(self, path: Path, *, clock: Clock, notary: Notary) -> None:
        self.paths = PackPaths(path)
        self.run_id = path.name
        self.verdicts = VerdictBook(self.paths, notary)
        self.records = RecordBook(self.paths, notary)
        self.config_bytes = self.paths.config.read_bytes()
        self.config = RunConfig.model_validate_json(self.config_bytes)
        self.summary = RunSummary()
        self._clock = clock
        self._notary = notary
        self._measured: dict[tuple[str, int], tuple[float | None, ...]] = {}
        self._offsets = array("Q", [0])
        self._owed: list[dict[str, Any]] = []
        genesis = digest.of_bytes(self.config_bytes)
        self._events = Journal(
            self.paths.events,
            genesis=genesis,
            each=lambda line: self._take_in(line.record, len(line.data) + 1),
        )
        self._metrics = Journal(self.paths.metrics, genesis=genesis, owns_sequence=False)

    # -- what the manager does -------------------------------------------------------------

    def move(
        self,
        to: RunState,
        reason: str,
        *,
        placement: Placement | None = None,
        error: Fault | None = None,
    ) -> None:
        """Move the run to another state.

        Raises:
            Conflict: The move is not legal.
            StorageFull: The disk took no more; the state is as it was.
        """
        previous = self.summary.state
        advance(previous, to)
        attempt = self.summary.attempt + (to is RunState.RUNNING)
        status = Status(
            timestamp=self._now(),
            state=to,
            previous=previous,
            reason=reason,
            placement=placement,
            error=error,
        )
        self._append(status, attempt=attempt)
        self._events.sync()

    def log(
        self,
        name: str,
        message: str,
        *,
        level: LogLevel = LogLevel.INFO,
        step: int | None = None,
        attempt: int | None = None,
    ) -> None:
        """Add a line that a reader of the run should see."""
        line = Log(timestamp=self._now(), level=level, name=name, message=message, step=step)
        self._append(line, attempt=self.summary.attempt if attempt is None else attempt)

    def complete_end(self) -> None:
        """Write the `end` event of a run that is final, unless it is there.

        Raises:
            StorageFull: The disk took no more; it is not written.
        """
        if self.summary.state.is_final and not self.summary.has_ended:
            self._metrics.sync()
            record = End(timestamp=self._now(), state=self.summary.state, step=self.summary.step)
            self._append(record, attempt=self.summary.attempt)
            self._events.sync()

    def write_description(self, model: Mapping[str, Any], provenance: Mapping[str, Any]) -> None:
        """Write model.json and provenance.json as the trainer of this attempt reported them.

        Raises:
            IntegrityError: An earlier attempt described another model.
            DigestMismatch: The trainer has read other bytes than the data gate let through.
        """
        self.verdicts.require_same_data(provenance)
        described = canonical.encode(model)
        if self.paths.model.exists() and self.paths.model.read_bytes() != described:
            raise IntegrityError("model.json: this attempt describes another model than the first")
        before, now = _kernels(self._earlier_provenance()), _kernels(provenance)
        if before is not None and before != now:
            message = f"this attempt computes with kernels {now}, the last one with {before}"
            self.log("kernels_changed", message, level=LogLevel.WARNING)
        self._events.sync()  # the attempt is on the disk before what tells of it
        files.write_atomic(self.paths.model, described)
        files.write_atomic(self.paths.provenance, canonical.encode(provenance))

    def _earlier_provenance(self) -> Mapping[str, Any]:
        if not self.paths.provenance.exists():
            return {}
        return canonical.decode_object(self.paths.provenance.read_bytes())

    # -- what a trainer reports --------------------------------------------------------------

    def report(
        self,
        event: TrainingEvent,
        *,
        attempt: int,
        n: int,
        max_bytes: int,
        after: Callable[[Phase], None] = lambda _: None,
    ) -> None:
        """Take in event number `n` of a trainer's attempt; sending it twice does no harm.

        Raises:
            Conflict: The attempt is not the current one.
            ReplayMismatch: A step done again measured something else.
            LimitExceeded: The run's folder would grow beyond `max_bytes`.
            StorageFull: The disk took no more; what it took stays, and the rest of it is written
                before the next event.
        """
        self.require_current(attempt)
        if n <= self.summary.last_n:
            return
        match event:
            case Beginning():
                self._report_beginning(event, n)
            case Metric():
                self._report_metric(event, n)
            case Checkpoint():
                self._report_checkpoint(event, n, max_bytes, after)
            case Log():
                self._append(event, attempt=attempt, n=n)
        self.summary.last_n = n

    def require_current(self, attempt: int) -> None:
        """Refuse the words of a trainer that was replaced.

        Raises:
            Conflict: `attempt` is not the current epoch, or the run is not running.
        """
        if self.summary.state is RunState.RUNNING and attempt == self.summary.attempt:
            return
        raise Conflict(
            f"run {self.run_id} is {self.summary.state} in attempt {self.summary.attempt}; "
            f"attempt {attempt} may not report",
            field="attempt",
            expected=str(self.summary.attempt),
            found=str(attempt),
        )

    def _report_beginning(self, beginning: Beginning, n: int) -> None:
        """Commit to the run before its first step; a later attempt must begin with the same.

        A run that was begun before there were commitments goes on without one.
        """
        self.records.mend()  # an earlier attempt may have ended at a full disk
        stored = self.records.commitment()
        if stored is None and self.summary.step:
            return
        if stored is None:
            stored = self._commitment(beginning)
            self.records.commit(stored)
        told = beginning.model_dump()
        for name, now in told.items():
            before = getattr(stored, name)
            if before != now:
                raise ReplayMismatch(
                    f"the run was committed to with {name} {before}, this attempt has {now}",
                    field=name,
                    expected=before,
                    found=now,
                )
        sha256 = digest.of_bytes(self.records.lines[0])
        message = f"config, data, seed, order and initial weights are signed: record {sha256}"
        line = Log(timestamp=self._now(), name="committed", message=message, step=0)
        self._append(line, attempt=self.summary.attempt, n=n)

    def _commitment(self, beginning: Beginning) -> Commitment:
        told = self._earlier_provenance()
        return Commitment(
            run_id=self.run_id,
            config_sha256=digest.of_bytes(self.config_bytes),
            data=told["dataset"]["files"],
            seed=told["seed"],
            nonce=told["nonce"],
            code=Code(**told["code"], lock_sha256=told["lock_sha256"]),
            kernels=told["runtime"].get("kernels"),
            limits=dict(self._notary.limits),
            events=self._place_of(self._events),
            log=self._notary.log,
            previous=self.verdicts.last_sha256,
            **beginning.model_dump(),
        )

    @staticmethod
    def _place_of(written: Journal) -> Place:
        return Place(seq=written.last_seq, sha256=written.last_sha256)

    def _report_metric(self, metric: Metric, n: int) -> None:
        stored = self._measured.get((metric.split, metric.step))
        if stored is None:
            self._append(metric, attempt=self.summary.attempt, n=n)
            return
        measured = tuple(getattr(metric, name) for name in REPEATABLE)
        for name, before, now in zip(REPEATABLE, stored, measured, strict=True):
            if before != now:
                raise ReplayMismatch(
                    f"step {metric.step} ({metric.split}) was done again: {name} was {before}, "
                    f"is {now}",
                    field=name,
                    expected=str(before),
                    found=str(now),
                )

    def _report_checkpoint(
        self, checkpoint: Checkpoint, n: int, max_bytes: int, after: Callable[[Phase], None]
    ) -> None:
        record = checkpoint.record
        stored = self.summary.checkpoints.get(record.step) or self.summary.pruned.get(record.step)
        if stored is not None:
            _require_same_checkpoint(stored, record)
        if self._lacks_bytes(record.step):
            self._require_room(checkpoint, max_bytes)
            checkpoints.write(self.paths.checkpoints, checkpoint, after=after)
        if stored is None:
            self._record_checkpoint(record, n)
        self._metrics.sync()
        self._events.sync()
        self._prune()

    def _lacks_bytes(self, step: int) -> bool:
        """Return whether a checkpoint is to be written: it is new, or its bytes are damaged."""
        if step in self.summary.pruned:
            return False
        stored = self.summary.checkpoints.get(step)
        return stored is None or not checkpoints.is_whole(self.paths.checkpoints, stored)

    def _record_checkpoint(self, record: CheckpointRecord, n: int) -> None:
        try:
            self._append(record, attempt=self.summary.attempt, n=n)
        except StorageFull:  # bytes without a record would be strangers in the pack
            checkpoints.remove(self.paths.checkpoints, record.step)
            raise
        self.records.bind(
            record, events=self._place_of(self._events), metrics=self._place_of(self._metrics)
        )

    def _require_room(self, checkpoint: Checkpoint, max_bytes: int) -> None:
        more = sum(len(data) for data in checkpoint.files.values())
        held = self._offsets[-1] + sum(
            file.bytes
            for step, record in self.summary.checkpoints.items()
            for file in record.files.values()
            if step != checkpoint.record.step
        )
        if held + more > max_bytes:
            raise LimitExceeded(
                f"the run's folder holds {held} bytes; a checkpoint of {more} more is over the "
                f"limit max_run_bytes = {max_bytes}",
                field="keep_last",
                expected=f"at most {max_bytes} bytes",
                found=str(held + more),
                cure="set keep_last, or checkpoint_every to more steps",
            )

    def _prune(self) -> None:
        """Keep the bytes of the last K checkpoints, and the records of all."""
        keep_last = self.config.keep_last
        steps = sorted(self.summary.checkpoints)
        for step in steps[: -keep_last if keep_last else 0]:
            record = self.summary.checkpoints[step].model_copy(
                update={"action": CheckpointAction.PRUNED, "timestamp": self._now()}
            )
            self._append(record, attempt=self.summary.attempt)
            checkpoints.remove(self.paths.checkpoints, step)

    # -- reading -----------------------------------------------------------------------------

    def event_lines(self, *, after: int, limit: int) -> list[bytes]:
        """Return at most `limit` lines of events.jsonl with a seq above `after`."""
        first = min(max(after, 0), self.summary.last_seq)
        last = min(first + limit, self.summary.last_seq)
        with self.paths.events.open("rb") as file:
            file.seek(self._offsets[first])
            data = file.read(self._offsets[last] - self._offsets[first])
        return data.splitlines()

    def newest_good_checkpoint(self) -> tuple[int, dict[str, bytes], dict[int, str]]:
        """Return step and files of the newest checkpoint whose bytes verify, or (0, {}).

        The third value tells, by step, what is wrong with newer ones. It only reads: a thread may
        call it.
        """
        damaged: dict[int, str] = {}
        for step in sorted(self.summary.checkpoints, reverse=True):
            record = self.summary.checkpoints[step]
            try:
                return step, checkpoints.read(self.paths.checkpoints, record), damaged
            except IntegrityError as error:
                damaged[step] = error.detail
        return 0, {}, damaged

    @property
    def is_described(self) -> bool:
        """Whether a trainer began to train it; from then on its device is fixed."""
        return self.paths.provenance.exists()

    @property
    def is_sealed(self) -> bool:
        """Whether the pack is sealed: its signed manifest is in place."""
        return pack.is_sealed(self.paths.root)

    def close(self) -> None:
        """Sync and close the journals."""
        self._events.close()
        self._metrics.close()

    # -- the journals ------------------------------------------------------------------------

    def _append(self, record: BaseModel, *, attempt: int, n: int | None = None) -> None:
        plain = record.model_dump(mode="json")
        if plain["kind"] == EventKind.STATUS:
            plain = {name: value for name, value in plain.items() if value is not None} | {
                "previous": plain["previous"]
            }
        plain["attempt"] = attempt
        if n is not None:
            plain["n"] = n
        self._write_owed()
        line = self._events.append(plain)
        self._take_in(line.record, len(line.data) + 1)
        if line.record["kind"] == EventKind.METRIC:
            self._owed.append(metric_line(line.record))
        self._write_owed()

    def _write_owed(self) -> None:
        """Write metric lines whose event is written; a full disk can part the two."""
        while self._owed:
            self._metrics.append(self._owed[0])
            del self._owed[0]

    def _take_in(self, record: Mapping[str, Any], size: int) -> None:
        try:
            self.summary.fold(record)
        except (ValueError, KeyError, TypeError) as error:
            raise IntegrityError(
                f"run {self.run_id}: events.jsonl, seq {record.get('seq')}: {error}"[:2000]
            ) from error
        self._offsets.append(self._offsets[-1] + size)
        if record["kind"] == EventKind.METRIC:
            key = (record["split"], int(record["step"]))
            self._measured[key] = tuple(record[name] for name in REPEATABLE)

    def _now(self) -> str:
        return timestamp(self._clock())


def create(
    runs_root: Path,
    run_id: str,
    config: RunConfig,
    *,
    clock: Clock,
    notary: Notary,
    idempotency_key_sha256: str | None,
) -> RunFolder:
    """Make a run folder with its config and its first event, in one rename.

    Raises:
        StorageFull: The disk took no more; there is no folder.
    """
    target = runs_root / run_id
    building = runs_root / f"{BUILDING}{run_id}"
    try:
        with files.no_space_as_storage_full(run_id):
            _build(building, config, clock=clock, idempotency_key_sha256=idempotency_key_sha256)
            building.rename(target)
            files.fsync_folder(runs_root)
    except (OSError, ServiceError):
        shutil.rmtree(building, ignore_errors=True)
        raise
    return RunFolder(target, clock=clock, notary=notary)


def _build(
    building: Path, config: RunConfig, *, clock: Clock, idempotency_key_sha256: str | None
) -> None:
    paths = PackPaths(building)
    paths.checkpoints.mkdir(parents=True)
    config_bytes = canonical.encode(config.model_dump(mode="json"))
    files.write_atomic(paths.config, config_bytes)
    genesis = digest.of_bytes(config_bytes)
    first = Status(
        timestamp=timestamp(clock()),
        state=RunState.QUEUED,
        previous=None,
        reason="submitted",
        idempotency_key_sha256=idempotency_key_sha256,
    ).model_dump(mode="json", exclude_none=True)
    with Journal(paths.events, genesis=genesis, fsync_every=1) as events:
        events.append({**first, "previous": None, "attempt": 0})
    Journal(paths.metrics, genesis=genesis, owns_sequence=False).close()


def open_folder(path: Path, *, clock: Clock, notary: Notary) -> RunFolder:
    """Open an unsealed run folder after a crash: cut, complete and sweep, then say so.

    Raises:
        BrokenChain: A journal is damaged elsewhere than in its last line.
    """
    paths = PackPaths(path)
    journal_files = [file for file in (paths.events, paths.metrics) if file.exists()]
    torn = {file.name: journals.recover(file) for file in journal_files}
    genesis = digest.of_file(paths.config)
    is_ahead = _is_ahead(paths, genesis=genesis)
    if is_ahead:
        paths.metrics.unlink()
    with Journal(paths.metrics, genesis=genesis, owns_sequence=False) as metrics:
        complete_metrics(paths.events, metrics, genesis=genesis)
    folder = RunFolder(path, clock=clock, notary=notary)
    folder.verdicts.mend()
    folder.records.mend()
    if is_ahead and not folder.summary.has_ended:
        message = "metrics.jsonl was ahead of events.jsonl and was written again from it"
        folder.log("metrics_rewritten", message, level=LogLevel.WARNING)
    for name, cut in torn.items():
        if cut is not None and not folder.summary.has_ended:  # `end` is the last event
            folder.log(
                "torn_line_cut",
                f"{name}: {len(cut.data)} bytes of an unfinished last line, at {cut.offset}",
                level=LogLevel.WARNING,
            )
    checkpoints.sweep(paths.checkpoints, keep=folder.summary.checkpoints)
    return folder


def _is_ahead(paths: PackPaths, *, genesis: str) -> bool:
    """Return whether a crash of the machine lost lines of events.jsonl that metrics.jsonl has."""
    with Journal(paths.metrics, genesis=genesis, owns_sequence=False) as metrics:
        return metrics.last_seq > paths.events.read_bytes().count(b"\n")


def _kernels(provenance: Mapping[str, Any]) -> str | None:
    """Return the digest of the kernels that an attempt computed with, if it told one."""
    kernels = provenance.get("runtime", {}).get("kernels", {})
    return str(kernels["digest"]) if "digest" in kernels else None


def folder_bytes(path: Path) -> int:
    """Return the bytes of all files below `path`."""
    return sum(
        (Path(where) / name).stat().st_size for where, _, names in os.walk(path) for name in names
    )


def _require_same_checkpoint(stored: CheckpointRecord, now: CheckpointRecord) -> None:
    for name in ("model_digest", "optimizer_digest", "state_digest"):
        before, again = getattr(stored, name), getattr(now, name)
        if before != again:
            raise ReplayMismatch(
                f"checkpoint {now.step} was made again: {name} was {before}, is {again}",
                field=name,
                expected=before,
                found=again,
            )
