"""seal/inclusion.json: where a run's signed records stand in the log, and the proofs of it."""

from collections.abc import Sequence
from typing import Annotated, Literal

from pydantic import Field

from evidence import canonical
from evidence.log.merkle import MAX_PROOF_HASHES
from evidence.log.store import Log
from evidence.records import Digest, Record


class IncludedEntry(Record):
    """One record in the log."""

    index: Annotated[int, Field(ge=0)]
    """Its place; 0 for the first entry of the log."""
    hashes: Annotated[list[Digest], Field(max_length=MAX_PROOF_HASHES)]
    """The proof of inclusion (RFC 6962 §2.1.1), its leaf's sibling first."""


class Inclusion(Record):
    """The proofs for one tree head."""

    v: Literal[1] = 1
    log: Annotated[str, Field(max_length=300)]
    """Verifier key of the log."""
    size: Annotated[int, Field(ge=1)]
    """Entries of the log at the tree head."""
    entries: Annotated[list[IncludedEntry], Field(min_length=1, max_length=100_000)]
    """Of each line of verdicts.jsonl, if there is one, of records.jsonl, then of the seal."""


def prove(log: Log, *, name: str, size: int, places: Sequence[int]) -> bytes:
    """Return the file.

    Args:
        log: The log.
        name: Its verifier key.
        size: Of the tree head, above every place.
        places: Of the records, in order.

    Raises:
        InvalidInput: A place is not within the size.
    """
    entries = [
        IncludedEntry(index=place, hashes=[one.hex() for one in log.inclusion(place, size)])
        for place in places
    ]
    made = Inclusion(log=name, size=size, entries=entries)
    return canonical.encode(made.model_dump(mode="json"))
