"""What this service found when it verified its own runs: the newest verdict of each.

A verdict is a line of the service journal, so that it says when, and a restart knows it. It is this
service's word and no evidence: who trusts nobody verifies the pack.
"""

from typing import Any, Final

from cluster.audit import AuditJournal, Who
from evidence import canonical

VERIFIED: Final = "run.verified"
"""Action of a line that tells a verdict."""

MOST_SUMMARY = 200


class Verdicts:
    """Writes verdicts to the service journal and tells the newest of each run.

    Args:
        journal: Where they stand.
    """

    def __init__(self, journal: AuditJournal) -> None:
        self._journal = journal
        self._newest: dict[str, dict[str, Any]] = {}
        for data in journal:
            self._take_in(data)

    def of(self, run_id: str) -> dict[str, Any] | None:
        """Return `verdict`, `summary` and `at` of a run's newest verification, or None."""
        return self._newest.get(run_id)

    def note(self, run_id: str, *, verdict: str, summary: str, who: Who) -> None:
        """Write down what a verification found.

        Raises:
            StorageFull: The disk took no more.
        """
        told = {"run_id": run_id, "verdict": verdict, "summary": summary[:MOST_SUMMARY]}
        seq = self._journal.append(VERIFIED, who=who, **told)
        self._take_in(self._journal.lines(after=seq - 1, limit=1)[0])

    def _take_in(self, data: bytes) -> None:
        if VERIFIED.encode() not in data:
            return
        record = canonical.decode_object(data)
        if record["action"] == VERIFIED:
            self._newest[record["run_id"]] = {
                "verdict": record["verdict"],
                "summary": record["summary"],
                "at": record["timestamp"],
            }
