"""Checks 16 to 18 and 20: the signed records of a run in the transparency log."""

from collections.abc import Sequence
from datetime import UTC, datetime
from itertools import pairwise
from typing import Final, NamedTuple

from evidence import digest
from evidence.binding import Commitment
from evidence.check_records import lines_of
from evidence.clock import moment, timestamp
from evidence.errors import BadProof, BadSignature, InvalidInput
from evidence.inclusion import Inclusion
from evidence.log import cosignature, merkle, tree_head
from evidence.log.note import Note, Verifier
from evidence.log.proof import InclusionProof
from evidence.log.tree_head import SignedTreeHead
from evidence.pack import (
    EVENTS,
    RECORDS,
    SEAL_BEGINNING,
    SEAL_ENVELOPE,
    SEAL_INCLUSION,
    SEAL_TREE_HEAD,
    VERDICTS,
)
from evidence.subject import (
    Difference,
    Differs,
    Good,
    NotCheckable,
    Subject,
    line_place,
    plural,
)

CLOCKS_DIFFER_S: Final = 300
"""Most seconds that the clocks of a service and of a witness may differ, RFC 4120 §1.6's usual."""


def inclusion(subject: Subject) -> Good:
    """(16) Each verdict, each record and the seal are entries of the log, in order."""
    subject.require_bound()
    subject.require_sealed()
    head = _head(subject)
    held = subject.read_as(SEAL_INCLUSION, Inclusion)
    entries = _entries(subject)
    if held.log != subject.log or held.size != head.head.size or len(held.entries) != len(entries):
        raise Differs(
            Difference(
                f"{SEAL_INCLUSION} is about other entries than the pack has",
                where=SEAL_INCLUSION,
                expected=f"{len(entries)} entries of {subject.log}, size {head.head.size}",
                found=f"{len(held.entries)} entries of {held.log}, size {held.size}",
                meaning="proofs were removed, or are of another pack or tree head",
            )
        )
    for number, (entry, told) in enumerate(zip(entries, held.entries, strict=True)):
        try:
            merkle.require_included(
                merkle.leaf_hash(entry.data),
                index=told.index,
                size=head.head.size,
                proof=[bytes.fromhex(one) for one in told.hashes],
                root=head.head.root,
            )
        except BadProof as error:
            raise Differs(
                Difference(
                    f"the log does not have {entry.place}: {error.detail}",
                    where=f"{SEAL_INCLUSION}, /entries/{number}",
                    expected=error.expected or "",
                    found=error.found or "",
                    meaning="the record was changed after it was logged, or never logged",
                )
            ) from error
    _require_order(subject, entries, held)
    name = subject.log.partition("+")[0]
    return Good(plural(len(entries), "record"), f"in the log {name} at size {head.head.size}")


class _Entry(NamedTuple):
    """Something of the pack that the log must have."""

    place: str
    data: bytes


def _entries(subject: Subject) -> list[_Entry]:
    """Return the verdicts, then the records, then the seal."""
    verdicts = lines_of(subject, VERDICTS) if subject.has(VERDICTS) else ()
    return [
        *(_Entry(line_place(VERDICTS, n), line) for n, line in enumerate(verdicts, 1)),
        *(_Entry(line_place(RECORDS, record.number), record.data) for record in subject.records),
        _Entry(SEAL_ENVELOPE, subject.read(SEAL_ENVELOPE)),
    ]


def _require_order(subject: Subject, entries: list[_Entry], held: Inclusion) -> None:
    """Require that verdicts, and records, were logged in their order.

    The verdict that the commitment names was before it; later verdicts stand between the records.
    """
    indices = [told.index for told in held.entries]
    first_record = len(entries) - len(subject.records) - 1
    named = subject.records[0].said.previous
    cleared = [n for n in range(first_record) if digest.of_bytes(entries[n].data) == named]
    chains = [range(first_record), (*cleared, *range(first_record, len(entries)))]
    for chain in chains:
        for before, after in pairwise(chain):
            if indices[after] <= indices[before]:
                raise Differs(
                    Difference(
                        f"the log has {entries[after].place} before {entries[before].place}, "
                        "from which it follows",
                        where=f"{SEAL_INCLUSION}, /entries/{after}/index",
                        expected=f"above {indices[before]}",
                        found=str(indices[after]),
                        meaning="the records were logged in another order than they were made",
                    )
                )


def _head(subject: Subject) -> SignedTreeHead:
    """Return the pack's tree head, signed by the log that commitment and seal name."""
    known = subject.known_log.verifier
    if known is not None and known.text != subject.log:
        raise Differs(
            Difference(
                "the run was logged in another log than the given one",
                where=f"{SEAL_ENVELOPE}, /payload/predicate/log",
                expected=known.text,
                found=subject.log,
                meaning="its records are where those who watch the given log do not see them",
            )
        )
    try:
        return tree_head.verify(subject.read(SEAL_TREE_HEAD), Verifier.parse(subject.log))
    except (BadSignature, InvalidInput) as error:
        raise Differs(
            Difference(
                f"{SEAL_TREE_HEAD}: {error.detail}",
                where=SEAL_TREE_HEAD,
                expected=error.expected or "",
                found=error.found or "",
                meaning="the tree head is not one that this log signed",
            )
        ) from error


def consistency(subject: Subject) -> Good:
    """(17) The pack's tree head and one that the verifier kept are of one log."""
    subject.require_bound()
    known, proof = subject.known_log.head, subject.known_log.proof
    if known is None:
        raise NotCheckable("no tree head was given that is known from elsewhere")
    ours = _head(subject).head
    older, newer = sorted((known.head, ours), key=lambda head: head.size)
    if proof is None and older.size not in (0, newer.size):
        raise NotCheckable(
            f"the known tree head is of size {known.head.size}, the pack's of {ours.size}; the "
            "proof of their consistency was not given"
        )
    try:
        merkle.require_consistent(
            old_size=older.size,
            old_root=older.root,
            size=newer.size,
            root=newer.root,
            proof=proof or [],
        )
    except BadProof as error:
        raise Differs(
            Difference(
                f"the log was rewritten, or shows each of us another: {error.detail}",
                where=SEAL_TREE_HEAD,
                expected=error.expected or "",
                found=error.found or "",
                meaning="the pack's tree head and the known one are not of one growing log",
            )
        ) from error
    return Good(f"{older.size} to {newer.size}", "the log only grew")


def witnesses(subject: Subject) -> Good:
    """(18) Witnesses that the verifier trusts cosigned the tree head, and not before the end."""
    subject.require_bound()
    head = _head(subject)
    trusted = _trusted(subject, head.note)
    times = [_cosigned(head.note, verifier, SEAL_TREE_HEAD) for verifier in trusted]
    if subject.events:
        ended = _seconds(subject.events[-1].timestamp)
        if min(times) < ended - CLOCKS_DIFFER_S:
            raise _dated_otherwise(
                f"{SEAL_TREE_HEAD} was cosigned before the run ended, as the journal dates it",
                told=ended,
                seen=min(times),
                before=True,
            )
    return Good(_count(trusted), f"the last one at {_shown_time(max(times))}")


def beginning(subject: Subject) -> Good:
    """(20) Witnesses that the verifier trusts cosigned a tree head with the commitment in it.

    The time of their cosignature is the latest at which the run was committed to.
    """
    if not subject.has(SEAL_BEGINNING):
        raise NotCheckable("no witness was asked when the run was committed to")
    try:
        proof = InclusionProof.parse(subject.read(SEAL_BEGINNING))
        proof.verify(subject.records[0].data, Verifier.parse(subject.log))
    except (BadProof, BadSignature, InvalidInput) as error:
        raise Differs(
            Difference(
                f"{SEAL_BEGINNING}: {error.detail}",
                where=SEAL_BEGINNING,
                expected=error.expected or "",
                found=error.found or "",
                meaning="the tree head is not one of this log that has the commitment",
            )
        ) from error
    trusted = _trusted(subject, proof.signed.note)
    seen = max(_cosigned(proof.signed.note, one, SEAL_BEGINNING) for one in trusted)
    commitment = subject.records[0].said
    assert isinstance(commitment, Commitment), "check 13 says so"
    began, ended = (
        _seconds(event.timestamp)
        for event in (subject.events[max(commitment.events.seq, 1) - 1], subject.events[-1])
    )
    if seen < began - CLOCKS_DIFFER_S:
        raise _dated_otherwise(
            "the commitment was cosigned before the journal dates it",
            told=began,
            seen=seen,
            before=True,
        )
    if seen > ended + CLOCKS_DIFFER_S:
        raise _dated_otherwise(
            "the commitment was cosigned after the run had ended, as the journal dates it",
            told=ended,
            seen=seen,
            before=False,
        )
    told = [one for one in subject.metrics if _seconds(one.timestamp) <= seen]
    measured = f"with {len(told)} of {plural(len(subject.metrics), 'measure')} dated before it"
    return Good(_count(trusted), f"at {_shown_time(seen)}, {measured}")


def _trusted(subject: Subject, note: Note) -> Sequence[Verifier]:
    """Return the witnesses whose keys were given."""
    if not subject.known_log.witnesses:
        others = plural(len(note.signatures) - 1, "cosignature")
        raise NotCheckable(f"no witness's key was given; {others} unchecked")
    return subject.known_log.witnesses


def _cosigned(note: Note, verifier: Verifier, where: str) -> int:
    """Return when a witness cosigned; the check fails if it did not."""
    try:
        return cosignature.require_cosigned(note, verifier)
    except BadSignature as error:
        raise Differs(
            Difference(
                f"{verifier.name} did not cosign the tree head of {where}",
                where=where,
                expected=error.expected or verifier.text,
                found=error.found or plural(len(note.signatures) - 1, "cosignature"),
                meaning="the witness did not see this log at this size, or refused it",
            )
        ) from error


def _dated_otherwise(detail: str, *, told: float, seen: float, before: bool) -> Differs:
    relation = "at or after" if before else "at or before"
    return Differs(
        Difference(
            detail,
            where=EVENTS,
            expected=f"a cosignature {relation} {_shown_time(told)}, give or take "
            f"{CLOCKS_DIFFER_S} s",
            found=_shown_time(seen),
            meaning="the times in the pack are not those at which the log got its records",
        )
    )


def _count(trusted: Sequence[Verifier]) -> str:
    return "1 witness" if len(trusted) == 1 else f"{len(trusted)} witnesses"


def _seconds(text: str) -> float:
    return moment(text).timestamp()


def _shown_time(seconds: float) -> str:
    """Return a time since 1970 for people; a witness may claim one that no calendar has."""
    try:
        return timestamp(datetime.fromtimestamp(seconds, UTC))
    except (OverflowError, ValueError, OSError):
        return f"{seconds} s"
