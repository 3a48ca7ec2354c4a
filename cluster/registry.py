"""All runs of a service: made, found, listed, recovered and deleted, with files as the truth.

Order and final states come from the service journal, so that a restart reads one file, and opens
only the folders of runs that are not sealed. A folder that the journal does not know is taken in;
where the two differ, the run's own journal is right and the service journal is completed.
"""

import re
import secrets
import shutil
from collections import OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import structlog
from pydantic import ValidationError

from cluster.audit import DELETED, STATUS, AuditJournal, Who
from cluster.notary import Notary
from cluster.run_folder import BUILDING, RunFolder, create, folder_bytes, open_folder
from cluster.states import LIVE
from cluster.summary import RunSummary
from evidence import canonical, digest, pack
from evidence.clock import Clock
from evidence.errors import Conflict, IntegrityError, InvalidInput, NotFound, StorageFull
from evidence.records import RunState
from trainers.config import RunConfig

log = structlog.get_logger()

_OPEN_SEALED_FOLDERS = 64
_RUN_ID = re.compile(r"[0-9a-f]{12}")


@dataclass(slots=True)
class Entry:
    """What the index holds of a run."""

    run_id: str
    state: RunState
    config_sha256: str
    key_sha256: str | None
    author: str
    """Who submitted it."""


class Registry:
    """The index of runs.

    Args:
        runs_root: Folder of the run folders; made if it is not there.
        audit: The service journal.
        clock: Where timestamps come from.
        notary: Signs and logs the records of runs.
    """

    def __init__(
        self, runs_root: Path, audit: AuditJournal, *, clock: Clock, notary: Notary
    ) -> None:
        runs_root.mkdir(parents=True, exist_ok=True)
        self._root = runs_root
        self._audit = audit
        self._clock = clock
        self._notary = notary
        self._entries: dict[str, Entry] = {}
        self._live: dict[str, RunFolder] = {}
        self._sealed: OrderedDict[str, RunFolder] = OrderedDict()
        self._tombstones: dict[str, dict[str, Any]] = {}
        self._damaged: dict[str, IntegrityError] = {}
        self._read_audit()
        self._take_in_folders()

    # -- making and finding ------------------------------------------------------------------

    def of_key(self, idempotency_key: str | None, config: RunConfig) -> RunFolder | None:
        """Return the run that was made with a key, or None.

        Raises:
            Conflict: It has another config.
        """
        key_sha256 = _key_sha256(idempotency_key)
        entries = self._entries.values()
        earlier = next((e for e in entries if key_sha256 and e.key_sha256 == key_sha256), None)
        if earlier is None:
            return None
        config_sha256 = digest.of_record(config.model_dump(mode="json"))
        if earlier.config_sha256 != config_sha256:
            raise Conflict(
                f"the Idempotency-Key was used for run {earlier.run_id} with another config",
                field="Idempotency-Key",
                expected=f"config {earlier.config_sha256}",
                found=f"config {config_sha256}",
            )
        return self.folder(earlier.run_id)

    def create(self, config: RunConfig, *, who: Who, idempotency_key: str | None) -> RunFolder:
        """Make a run; ask `of_key` first.

        Raises:
            StorageFull: The disk took no more; nothing was made.
        """
        run_id = secrets.token_hex(6)
        folder = create(
            self._root,
            run_id,
            config,
            clock=self._clock,
            notary=self._notary,
            idempotency_key_sha256=_key_sha256(idempotency_key),
        )
        self._live[run_id] = folder
        try:
            self._enter(folder, who=who)
        except StorageFull:
            self._drop(folder)
            raise
        return folder

    def folder(self, run_id: str) -> RunFolder:
        """Return the folder of a run.

        Raises:
            NotFound: There is no such run, or it was deleted.
            IntegrityError: Its journal is damaged; it was set aside, its files are as they were.
        """
        if run_id in self._damaged:
            raise self._damaged[run_id]
        if run_id in self._live:
            return self._live[run_id]
        if run_id not in self._entries:
            raise self._unknown(run_id)
        if run_id not in self._sealed:
            try:
                with _damage_as_integrity_error(run_id):
                    self._hold_sealed(
                        RunFolder(self._root / run_id, clock=self._clock, notary=self._notary)
                    )
            except IntegrityError as error:
                self._set_aside(run_id, error)
                raise
        self._sealed.move_to_end(run_id)
        return self._sealed[run_id]

    def author_of(self, run_id: str) -> str:
        """Return who submitted a run: an account, or a Ray job.

        Raises:
            NotFound: There is no such run.
        """
        if run_id not in self._entries:
            raise self._unknown(run_id)
        return self._entries[run_id].author

    def page(
        self, *, state: RunState | None, offset: int, limit: int
    ) -> tuple[list[RunFolder], int]:
        """Return at most `limit` runs, newest first, from `offset` on, and how many there are."""
        while True:
            chosen = [
                e.run_id for e in reversed(self._entries.values()) if state in {None, e.state}
            ]
            try:
                return [self.folder(run_id) for run_id in chosen[offset : offset + limit]], len(
                    chosen
                )
            except IntegrityError as error:  # that run is set aside now: the others are listed
                log.warning("run_left_out", cause=error.detail)

    def newest_first(self) -> list[str]:
        """Return the ids of all runs, the newest first."""
        return list(reversed(self._entries))

    def in_state(self, *states: RunState) -> list[RunFolder]:
        """Return the runs in these states, oldest first; not those that are being sealed."""
        told = [e.run_id for e in self._entries.values() if e.state in states]
        folders = []
        for run_id in told:
            try:
                folders.append(self.folder(run_id))
            except IntegrityError as error:  # that run is set aside now
                log.warning("run_left_out", cause=error.detail)
        return [folder for folder in folders if folder.summary.state in states]

    def unsealed(self) -> list[RunFolder]:
        """Return the final runs whose pack is not sealed; their folders stay open till it is."""
        return [folder for folder in self._live.values() if folder.summary.state.is_final]

    def count(self) -> dict[RunState, int]:
        """Return how many runs are in each state."""
        counts = dict.fromkeys(RunState, 0)
        for entry in self._entries.values():
            counts[entry.state] += 1
        return counts

    # -- changes -----------------------------------------------------------------------------

    def moved(self, folder: RunFolder, *, who: Who) -> None:
        """Tell the index and the service journal that a run is in another state, once."""
        entry = self._entries[folder.run_id]
        if entry.state is folder.summary.state:
            return
        previous, entry.state = entry.state, folder.summary.state
        used = _used(folder)
        self._journal_status(folder.run_id, folder.summary, previous=previous, who=who, **used)

    def sealed(self, folder: RunFolder) -> None:
        """Tell the index that a run's pack is sealed: its folder need not stay open."""
        if self._live.pop(folder.run_id, None) is not None:
            self._hold_sealed(folder)

    def delete(self, run_id: str, *, who: Who, reason: str) -> dict[str, Any]:
        """Delete a run's folder and leave a tombstone with the digest of its manifest.

        Raises:
            Conflict: The run is still queued or running.
        """
        folder = self.folder(run_id)
        if folder.summary.state in LIVE:
            raise Conflict(f"run {run_id} is {folder.summary.state}; cancel it first")
        manifest = folder.paths.manifest
        seal = digest.of_file(manifest) if manifest.exists() else None
        tombstone = {"run_id": run_id, "manifest_sha256": seal, "reason": reason}
        before = _state_digest(run_id, folder.summary.state)
        self._audit.append(DELETED, who=who, before=before, after=None, **tombstone)
        self._drop(folder)
        self._tombstones[run_id] = tombstone
        return tombstone

    # -- recovery ----------------------------------------------------------------------------

    def _read_audit(self) -> None:
        for data in self._audit:
            record = canonical.decode_object(data)
            if record["action"] == DELETED:
                self._entries.pop(record["run_id"], None)
                self._tombstones[record["run_id"]] = record
            if record["action"] != STATUS:
                continue
            entry = self._entries.get(record["run_id"])
            if entry is not None:
                entry.state = RunState(record["state"])
            elif record["previous"] is None:
                self._entries[record["run_id"]] = Entry(
                    record["run_id"],
                    RunState(record["state"]),
                    record["config_sha256"],
                    record.get("idempotency_key_sha256"),
                    record["who"],
                )

    def _take_in_folders(self) -> None:
        found = self._run_folders()
        for run_id in [run_id for run_id in self._entries if run_id not in found]:
            self._entries.pop(run_id)
        unknown = sorted(found - set(self._entries))
        for run_id in unknown:
            if self._open_live(run_id):
                self._enter(self._live[run_id], who="service")
        for entry in [e for e in self._entries.values() if e.run_id not in self._live]:
            if not (entry.state.is_final and pack.is_sealed(self._root / entry.run_id)):
                self._reopen(entry)

    def _run_folders(self) -> set[str]:
        """Return the names of run folders; what was being made or deleted is removed first."""
        there = {path.name for path in self._root.iterdir() if path.is_dir()}
        gone = {name for name in there if name.startswith(BUILDING) or name in self._tombstones}
        for name in gone:
            shutil.rmtree(self._root / name)
        found = {name for name in there - gone if _RUN_ID.fullmatch(name)}
        for name in sorted(there - gone - found):
            log.warning("folder_is_no_run", name=name)
        return found

    def _reopen(self, entry: Entry) -> None:
        if not self._open_live(entry.run_id):
            return
        folder = self._live[entry.run_id]
        if not folder.summary.state.is_final:  # those are told when they are sealed
            self.moved(folder, who="service")

    def _open_live(self, run_id: str) -> bool:
        """Open and mend an unsealed folder; return whether it could be."""
        try:
            with _damage_as_integrity_error(run_id):
                self._live[run_id] = open_folder(
                    self._root / run_id, clock=self._clock, notary=self._notary
                )
        except IntegrityError as error:
            self._set_aside(run_id, error)
            return False
        return True

    def _set_aside(self, run_id: str, error: IntegrityError) -> None:
        """Leave a damaged run out, so that the others go on; its files stay for whoever looks."""
        self._entries.pop(run_id, None)
        self._damaged[run_id] = error
        self._audit.append("run.damaged", who="service", run_id=run_id, detail=error.detail[:2000])

    # -- the index ---------------------------------------------------------------------------

    def _enter(self, folder: RunFolder, *, who: Who) -> None:
        entry = Entry(
            folder.run_id,
            folder.summary.state,
            digest.of_bytes(folder.config_bytes),
            folder.summary.idempotency_key_sha256,
            str(who),
        )
        self._entries[folder.run_id] = entry
        self._journal_status(
            folder.run_id,
            folder.summary,
            previous=None,
            who=who,
            config_sha256=entry.config_sha256,
            idempotency_key_sha256=entry.key_sha256,
            steps_asked=folder.config.steps,
        )

    def _journal_status(
        self, run_id: str, summary: RunSummary, *, previous: RunState | None, who: Who, **more: Any
    ) -> None:
        self._audit.append(
            STATUS,
            who=who,
            run_id=run_id,
            state=summary.state,
            previous=previous,
            reason=summary.reason,
            before=_state_digest(run_id, previous),
            after=_state_digest(run_id, summary.state),
            **more,
        )

    def _hold_sealed(self, folder: RunFolder) -> None:
        """Keep a folder that nobody writes to open, among the last that were asked for."""
        self._sealed[folder.run_id] = folder
        if len(self._sealed) > _OPEN_SEALED_FOLDERS:
            self._sealed.popitem(last=False)[1].close()

    def _drop(self, folder: RunFolder) -> None:
        """Take a run out of the index and delete its folder."""
        folder.close()
        for index in (self._entries, self._live, self._sealed):
            index.pop(folder.run_id, None)
        shutil.rmtree(folder.paths.root)

    def _unknown(self, run_id: str) -> NotFound:
        tombstone = self._tombstones.get(run_id)
        if tombstone is None:
            return NotFound(f"there is no run {run_id}", field="run_id", found=run_id)
        return NotFound(
            f"run {run_id} was deleted ({tombstone['reason']}); its manifest had SHA-256 "
            f"{tombstone.get('manifest_sha256')}",
            field="run_id",
            found=run_id,
        )


@contextmanager
def _damage_as_integrity_error(run_id: str) -> Iterator[None]:
    """Raise IntegrityError, whatever it is that makes a folder unreadable as a run."""
    try:
        yield
    except (OSError, ValidationError, InvalidInput) as error:
        reason = f"{type(error).__name__}: {error}".splitlines()[0][:500]
        raise IntegrityError(f"run {run_id} cannot be read: {reason}") from error


def _key_sha256(idempotency_key: str | None) -> str | None:
    return digest.of_bytes(idempotency_key.encode()) if idempotency_key else None


def _state_digest(run_id: str, state: RunState | None) -> str | None:
    """Return the digest by which the journal names the state of a run; None where it is not."""
    return None if state is None else digest.of_record({"run_id": run_id, "state": state.value})


def _used(folder: RunFolder) -> dict[str, Any]:
    """Return what a run uses from now on, or has used so far, as the ledger reads it."""
    summary = folder.summary
    if summary.state is RunState.RUNNING:
        return {"devices": folder.config.workers}
    used = {"steps": summary.step, "bytes": folder_bytes(folder.paths.root)}
    if summary.state is not RunState.INTERRUPTED:
        return used
    # It may have been dead for long before anybody could say so.
    seen = [line["timestamp"] for line in summary.last_metrics.values()]
    return {**used, "until": max([*seen, summary.running_since or ""]) or None}
