"""What the data gate said of one run, each time that it came there: signed, on the disk, logged."""

from collections.abc import Mapping
from typing import Any

from cluster.notary import Notary
from cluster.signed_lines import SignedLines
from evidence import digest
from evidence.errors import DigestMismatch
from evidence.pack import PackPaths
from evidence.signing import unverified_statement
from evidence.verdict import Verdict, of_statement, verdict_statement


class VerdictBook:
    """The one writer of a run's verdicts.jsonl.

    Args:
        paths: The run folder.
        notary: Signs and logs.
    """

    def __init__(self, paths: PackPaths, notary: Notary) -> None:
        self._path = paths.verdicts
        self._signed = SignedLines(paths.verdicts, notary)

    @property
    def lines(self) -> list[bytes]:
        """The envelopes so far, the oldest first."""
        return self._signed.lines

    @property
    def last_sha256(self) -> str | None:
        """SHA-256 of the newest line, None before the first."""
        return digest.of_bytes(self.lines[-1]) if self.lines else None

    def add(self, verdict: Verdict) -> int:
        """Sign, write and log what the gate said; return its place in the log.

        Raises:
            StorageFull: The disk took no more.
        """
        bound = verdict.model_copy(update={"previous": self.last_sha256})
        return self._signed.add(verdict_statement(bound))

    def require_same_data(self, provenance: Mapping[str, Any]) -> None:
        """Hold what a trainer has read against the bytes that the gate let through.

        Args:
            provenance: What the trainer told; `dataset.files` are the SHA-256 that it decoded.

        Raises:
            DigestMismatch: They are others; the first file is named.
        """
        if not self.lines:  # a run that was committed to before there was a gate
            return
        found: Mapping[str, str] = provenance["dataset"]["files"]
        cleared = of_statement(unverified_statement(self.lines[-1])).data
        for name in sorted({*cleared, *found}):
            expected, actual = cleared.get(name, "none"), found.get(name, "none")
            if expected != actual:
                raise DigestMismatch(
                    f"{name}: the data gate let SHA-256 {expected} through, "
                    f"the trainer read {actual}",
                    expected=expected,
                    found=actual,
                )

    def mend(self) -> None:
        """Log what a crash or a full disk kept from being logged.

        Raises:
            StorageFull: The disk took no more.
        """
        self._signed.mend()

    def put_away(self) -> None:
        """Remove the file of a run that ended before it was committed to; the log keeps it all."""
        self._path.unlink(missing_ok=True)
