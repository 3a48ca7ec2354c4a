"""The service journal: who did what, when, from where, in one hash-chained file.

Every change of state in the service is a line of `audit.jsonl`; the event streams of all runs and
of proposals are read from it. A line has `timestamp`, `action` and `who`; of a caller over HTTP
also its `key` and `origin`; of what changed, `before` and `after`: the SHA-256 of its canonical
JSON, null where it was not there. The signed log anchors it, see `cluster.anchor`.
"""

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from cluster.audit_pages import Filter
from evidence import canonical, digest
from evidence import journal as journals
from evidence.clock import Clock, timestamp
from evidence.journal import Journal, Torn
from governance.accounts import Caller

Who = Caller | str
"""Who a line names: a caller over HTTP, or `service`, or a Ray job."""

Take = Callable[[Mapping[str, Any]], None]

STATUS = "run.status"
"""Action of a line that tells a run's new state."""

STARTED = "service.started"
"""Action of a line that names the cluster session in which a manager started."""

DELETED = "run.deleted"
"""Action of a tombstone: the run's folder is gone, the digest of its seal stays."""


class AuditJournal:
    """The one writer and reader of the service journal.

    Args:
        path: The file.
        clock: Where timestamps come from.

    Raises:
        BrokenChain: The file is damaged elsewhere than in its last line.
    """

    def __init__(self, path: Path, *, clock: Clock) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self.torn: Torn | None = journals.recover(path) if path.exists() else None
        self._clock = clock
        self._lines: list[bytes] = []
        self._takers: list[Take] = []
        self._journal = Journal(
            path,
            genesis=digest.ZERO,
            fsync_every=16,
            each=lambda line: self._lines.append(line.data),
        )
        if self.torn is not None:
            self.append("service.torn_line_cut", who="service", offset=self.torn.offset)

    def append(self, action: str, *, who: Who, **details: Any) -> int:
        """Write one line and return its sequence number.

        Raises:
            StorageFull: The disk took no more.
        """
        named = {"timestamp": timestamp(self._clock()), "action": action, **_named(who)}
        line = self._journal.append({**named, **details})
        self._lines.append(line.data)
        for take in self._takers:
            take(line.record)
        return int(line.record["seq"])

    def subscribe(self, take: Take) -> None:
        """Have every line taken in, those that are there at once, others as they are written."""
        for data in self._lines:
            take(canonical.decode_object(data))
        self._takers.append(take)

    def lines(self, *, after: int, limit: int) -> list[bytes]:
        """Return at most `limit` lines with a sequence number above `after`."""
        first = max(after, 0)
        return self._lines[first : first + limit]

    def page(self, wanted: Filter, *, after: int, limit: int) -> dict[str, Any]:
        """Return at most `limit` lines above `after` that match, oldest first, as records."""
        chosen: list[dict[str, Any]] = []
        seen = max(after, 0)
        for data in self._lines[seen:]:
            if len(chosen) == limit:
                break
            seen += 1
            record = canonical.decode_object(data)
            if wanted.matches(record):
                chosen.append(record)
        return {"lines": chosen, "next_after": seen, "last_seq": self.last_seq}

    def __iter__(self) -> Iterator[bytes]:
        """Yield every line, oldest first."""
        return iter(list(self._lines))

    def last_session(self) -> str | None:
        """Return the cluster session in which a manager last started, or None."""
        for data in reversed(self._lines):
            record = canonical.decode_object(data)
            if record["action"] == STARTED:
                return str(record["session"])
        return None

    @property
    def last_seq(self) -> int:
        """Sequence number of the newest line; 0 before the first."""
        return len(self._lines)

    def sync(self) -> None:
        """Force what was written to the disk.

        Raises:
            StorageFull: The disk took no more.
        """
        self._journal.sync()

    def close(self) -> None:
        """Sync and close the file."""
        self._journal.close()


def _named(who: Who) -> dict[str, Any]:
    """Return the fields that tell who did something."""
    if isinstance(who, str):
        return {"who": who}
    return {"who": who.name, "key": who.key_id, "origin": who.origin}
