"""The signed records of one run, as they come to be: signed, on the disk, in the log.

A record goes into records.jsonl first and into the log then; both take the same bytes once, so
whatever a crash leaves between them is mended by `mend`, and a record is never made twice.
"""

from collections.abc import Iterator

from cluster.notary import Notary
from cluster.signed_lines import SignedLines
from cluster.summary import body_of
from evidence import binding, digest, journal
from evidence.binding import Commitment, Place
from evidence.pack import PackPaths
from evidence.records import CheckpointAction, CheckpointRecord, EventKind
from evidence.signing import unverified_statement


class RecordBook:
    """The one writer of a run's records.jsonl.

    Args:
        paths: The run folder.
        notary: Signs and logs.
    """

    def __init__(self, paths: PackPaths, notary: Notary) -> None:
        self._paths = paths
        self._signed = SignedLines(paths.records, notary)

    @property
    def lines(self) -> list[bytes]:
        """The envelopes so far, the commitment first."""
        return self._signed.lines

    def commitment(self) -> Commitment | None:
        """Return what the run was committed to, or None where it is not yet."""
        if not self.lines:
            return None
        said = unverified_statement(self.lines[0])
        return binding.predicate_of(said, Commitment, binding.COMMITMENT)

    def commit(self, commitment: Commitment) -> None:
        """Sign and log the commitment; it must be the first record.

        Raises:
            StorageFull: The disk took no more.
        """
        assert not self.lines, "a run is committed to once"
        self._signed.add(binding.commitment_statement(commitment))

    def bind(self, record: CheckpointRecord, *, events: Place, metrics: Place) -> None:
        """Sign and log the record of a checkpoint, if the run was committed to.

        Args:
            record: As events.jsonl has it.
            events: Its line there.
            metrics: Where metrics.jsonl stands.

        Raises:
            StorageFull: The disk took no more; `mend` makes up for it.
        """
        if self.lines:
            previous = digest.of_bytes(self.lines[-1])
            self._signed.add(
                binding.checkpoint_statement(
                    record,
                    run_id=self._paths.root.name,
                    events=events,
                    metrics=metrics,
                    previous=previous,
                )
            )

    def mend(self) -> None:
        """Make the records that a crash or a full disk kept from being made, and log them all.

        Raises:
            BrokenChain: A journal is damaged.
            StorageFull: The disk took no more.
        """
        if not self.lines:
            return
        missing = list(_written(self._paths))[len(self.lines) - 1 :]
        for record, events, metrics in missing:
            self.bind(record, events=events, metrics=metrics)
        self._signed.mend()


def _written(paths: PackPaths) -> Iterator[tuple[CheckpointRecord, Place, Place]]:
    """Yield each checkpoint that was written, its line of events.jsonl, the metrics before it."""
    genesis = digest.of_file(paths.config)
    metrics = journal.read(paths.metrics, genesis=genesis)
    upcoming = next(metrics, None)
    last = Place(seq=0, sha256=genesis)
    for line in journal.read(paths.events, genesis=genesis):
        record = line.record
        if record["kind"] == EventKind.METRIC and upcoming is not None:
            assert upcoming.record["seq"] == record["seq"], "metrics.jsonl was completed before"
            last = Place(seq=record["seq"], sha256=upcoming.sha256)
            upcoming = next(metrics, None)
        if record["kind"] == EventKind.CHECKPOINT and record["action"] == CheckpointAction.WRITTEN:
            made = CheckpointRecord.model_validate(body_of(record))
            yield made, Place(seq=record["seq"], sha256=line.sha256), last
