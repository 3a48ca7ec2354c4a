"""The service journal: who did what, when, to which run, in one hash-chained file.

Every change of a run's state, every deletion and every fetch of data is a line of `audit.jsonl`;
the event stream of all runs is read from it. Later duties (the signed log, governance) extend it.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from evidence import canonical, digest
from evidence import journal as journals
from evidence.clock import Clock, timestamp
from evidence.journal import Journal, Torn

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
        self._journal = Journal(
            path,
            genesis=digest.ZERO,
            fsync_every=16,
            each=lambda line: self._lines.append(line.data),
        )
        if self.torn is not None:
            self.append("service.torn_line_cut", who="service", offset=self.torn.offset)

    def append(self, action: str, *, who: str, **details: Any) -> int:
        """Write one line and return its sequence number.

        Raises:
            StorageFull: The disk took no more.
        """
        record = {"timestamp": timestamp(self._clock()), "action": action, "who": who, **details}
        line = self._journal.append(record)
        self._lines.append(line.data)
        return int(line.record["seq"])

    def lines(self, *, after: int, limit: int) -> list[bytes]:
        """Return at most `limit` lines with a sequence number above `after`."""
        first = max(after, 0)
        return self._lines[first : first + limit]

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

    def close(self) -> None:
        """Sync and close the file."""
        self._journal.close()
