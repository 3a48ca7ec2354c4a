"""The durable queue of proposals and votes: signed lines, rotated, copied, recovered.

    proposals.jsonl                      the records of now
    proposals-00000001.jsonl             a file that is full, by the number of its first record
    backups/proposals-00000001-00000040.jsonl
    recovery.json                        what the last recovery found
    *.damaged-*                          what was set aside by one

A record is acknowledged when it is in the file and in the signed log, both on the disk.
"""

import os
from collections.abc import Callable, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

import structlog

from evidence import canonical, digest, files
from evidence.clock import Clock, timestamp
from evidence.errors import StorageFull
from evidence.files import no_space_as_storage_full
from evidence.signing import PublicKey
from governance.proposals import backups, recovery
from governance.proposals.backups import Keeping
from governance.proposals.record import Body, Sign, Signed, make

log = structlog.get_logger()

REPORT = "recovery.json"

Enter = Callable[[Sequence[bytes]], Sequence[int]]
"""Puts envelopes into the log, on the disk when it returns, and returns their places; one that is
there keeps its place."""


class Queue:
    """The one writer of a queue.

    Args:
        folder: Where it is; made if it is not there.
        keys: Keys of the service, oldest first.
        logged: Records of the queue among the entries of the log, in order.
        sign: Signs.
        enter: Logs.
        keeping: When files are rotated and copied.
        clock: The present.

    Raises:
        IntegrityError: It is damaged beyond what copies and log can restore.
        StorageFull: There is no space to repair it.
    """

    def __init__(  # noqa: PLR0913 - what it stands on is handed in
        self,
        folder: Path,
        *,
        keys: Sequence[PublicKey],
        logged: Sequence[bytes],
        sign: Sign,
        enter: Enter,
        keeping: Keeping,
        clock: Clock,
    ) -> None:
        self._folder = folder
        self._sign = sign
        self._enter = enter
        self._keeping = keeping
        self._clock = clock
        stamp = timestamp(clock()).replace(":", "").replace(".", "")
        by_id = {key.key_id: key for key in keys}
        opened = recovery.open_queue(folder, by_id, logged, stamp=stamp)
        self.records: list[Signed] = opened.records
        """All of them, oldest first."""
        self.recovered = opened.recovery
        """What had to be repaired just now, or None."""
        self._first = opened.segments[-1][1] if opened.segments else 1
        current = folder / recovery.CURRENT
        if not current.exists():
            self._first = len(self.records) + 1
        self._size = current.stat().st_size if current.exists() else 0
        if self.recovered is not None:
            report = {**self.recovered.as_json(), "at": timestamp(clock())}
            files.write_atomic(folder / REPORT, canonical.encode(report))
        self.places: list[int] = list(enter([one.envelope for one in self.records]))
        """Place of each record in the log; a record that a crash kept out of it goes in here."""

    def append(self, body: Body) -> Signed:
        """Sign a proposal or a vote, write it, log it, and return its record.

        Where the log takes it not, the record stays in the queue, and nobody was told that it is
        acknowledged; the next record, or the next start, logs it.

        Raises:
            TooLarge: It is over the limit of a record.
            StorageFull: The disk took no more.
        """
        previous = self.records[-1].sha256 if self.records else digest.ZERO
        record = make(body, number=len(self.records) + 1, previous=previous, sign=self._sign)
        self._write(record.envelope + b"\n")
        self.records.append(record)
        unlogged = [one.envelope for one in self.records[len(self.places) :]]
        self.places += self._enter(unlogged)
        try:
            self._keep(self._clock())
        except StorageFull as full:  # the record is written and logged; the next one tries again
            log.warning("queue_not_copied", cause=full.detail)
        return record

    def place_of(self, record: Signed) -> int | None:
        """Return the place of a record in the log, or None where a full disk kept it out so far."""
        return self.places[record.number - 1] if record.number <= len(self.places) else None

    def _write(self, data: bytes) -> None:
        path = self._folder / recovery.CURRENT
        is_new = not path.exists()
        with no_space_as_storage_full(path.name), path.open("ab", buffering=0) as file:
            try:
                left = data
                while left:
                    left = left[file.write(left) :]
                os.fsync(file.fileno())
            except OSError:
                os.ftruncate(file.fileno(), self._size)
                raise
        if is_new:
            files.fsync_folder(self._folder)
        self._size += len(data)

    def _keep(self, now: datetime) -> None:
        """Rotate and copy where it is time.

        Raises:
            StorageFull: There is no space for a copy; the queue itself is whole.
        """
        is_full = self._size >= self._keeping.rotate_bytes
        if not is_full and not backups.is_due(self._folder, self._keeping, now=now):
            return
        current = self._folder / recovery.CURRENT
        last = len(self.records)
        backups.make(self._folder, current.read_bytes(), first=self._first, last=last, now=now)
        if is_full:
            current.rename(self._folder / recovery.rotated_name(self._first))
            files.fsync_folder(self._folder)
            self._first, self._size = len(self.records) + 1, 0
        backups.prune(self._folder, self._keeping, now=now)

    def last_recovery(self) -> dict[str, Any] | None:
        """Return the report of the last recovery there was, or None."""
        path = self._folder / REPORT
        return canonical.decode_object(path.read_bytes()) if path.exists() else None
