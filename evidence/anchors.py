"""The audit journal in the transparency log: signed statements of how far it went, with its digest.

A journal that is hash-chained shows a changed line, but whoever keeps it can write all of it anew,
or cut its end off. An anchor is a log entry that names the number and the SHA-256 of its last line;
so both are found, by whoever has an older tree head of the log.
"""

import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Final, Literal

from pydantic import Field, ValidationError

from evidence import digest, journal
from evidence.errors import BadSignature, BrokenChain, InvalidInput
from evidence.records import Digest, Record
from evidence.signing import (
    PublicKey,
    key_id_of,
    statement,
    unverified_statement,
    verify_envelope,
)

PREDICATE_TYPE: Final = "urn:zeropoint:audit-journal:v1"
"""`predicateType` of an anchor."""

NAME = "audit.jsonl"


class Anchor(Record):
    """Predicate of an anchor."""

    v: Literal[1] = 1
    seq: Annotated[int, Field(ge=1)]
    """Number of the line."""
    sha256: Digest
    """Of that line, without its newline."""


@dataclass(frozen=True, slots=True)
class Anchored:
    """What verification of a journal found good."""

    lines: int
    anchors: int
    last_anchored: int
    """Number of the last line that an anchor names; later ones rest on the chain alone."""


def anchor_statement(anchor: Anchor) -> dict[str, Any]:
    """Return the statement that says how far the journal went."""
    return statement(
        {NAME: anchor.sha256},
        predicate_type=PREDICATE_TYPE,
        predicate=anchor.model_dump(mode="json"),
    )


def verify(lines: Sequence[bytes], entries: Sequence[bytes], keys: Sequence[PublicKey]) -> Anchored:
    """Check the chain of a journal, and every anchor of it among the entries of a log.

    Args:
        lines: The journal, oldest first, without newlines.
        entries: Entries of the log, in order; others than anchors are passed over.
        keys: Keys of the service, as its history has them.

    Raises:
        BrokenChain: A line does not follow from the one before, or an anchored line is missing or
            is another one.
        BadSignature: An anchor is not signed by the service.
    """
    data = b"".join(line + b"\n" for line in lines)
    chained = list(journal.read_stream(io.BytesIO(data), name=NAME, genesis=digest.ZERO))
    by_id = {key.key_id: key for key in keys}
    count = last = 0
    for place, entry in enumerate(entries):
        anchor = _read(entry, place, by_id)
        if anchor is None:
            continue
        count, last = count + 1, max(last, anchor.seq)
        found = chained[anchor.seq - 1].sha256 if anchor.seq <= len(chained) else "no such line"
        if found != anchor.sha256:
            raise BrokenChain(
                f"{NAME}, line {anchor.seq}: entry {place} of the log says SHA-256 "
                f"{anchor.sha256}, found {found}",
                expected=anchor.sha256,
                found=found,
            )
    return Anchored(len(chained), count, last)


def _read(entry: bytes, place: int, keys: Mapping[str, PublicKey]) -> Anchor | None:
    """Return the anchor in an entry, or None where it is something else."""
    try:
        if unverified_statement(entry).get("predicateType") != PREDICATE_TYPE:
            return None
        key = keys.get(key_id_of(entry))
        if key is None:
            raise BadSignature(f"entry {place} of the log: its key is none of the service's")
        return Anchor.model_validate(verify_envelope(entry, key)["predicate"])
    except (InvalidInput, ValidationError, KeyError) as error:
        raise BadSignature(f"entry {place} of the log is no anchor: {error}"[:300]) from error
