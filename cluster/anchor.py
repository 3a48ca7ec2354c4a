"""Puts the end of the service journal into the signed log, soon after it moved."""

from cluster.audit import AuditJournal
from cluster.notary import Notary
from evidence import digest
from evidence.anchors import Anchor, anchor_statement


class JournalAnchor:
    """Anchors a journal, one entry for all lines since the last time.

    Args:
        journal: The service journal.
        notary: Signs and logs.
    """

    def __init__(self, journal: AuditJournal, notary: Notary) -> None:
        self._journal = journal
        self._notary = notary
        self.last_seq = 0
        """Number of the last line that was anchored since this process began."""

    def anchor(self) -> int | None:
        """Sign and log where the journal stands; return the place in the log, None if unmoved.

        The same line twice gives the same entry, which the log takes once.

        Raises:
            StorageFull: The disk took no more.
        """
        seq = self._journal.last_seq
        if seq == self.last_seq:
            return None
        self._journal.sync()  # the log must not know more than the disk
        (line,) = self._journal.lines(after=seq - 1, limit=1)
        said = anchor_statement(Anchor(seq=seq, sha256=digest.of_bytes(line)))
        (place,) = self._notary.enter([self._notary.sign(said)])
        self.last_seq = seq
        return place
