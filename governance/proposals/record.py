"""One signed record of the queue: a proposal or a vote, numbered, and naming the one before it.

A record is a DSSE envelope, byte for byte a line of the queue's file and an entry of the log. Its
number and the digest of the record before it are signed with it, so that the records of a log alone
give the queue again, in order and without a gap.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Final, Literal

from pydantic import Field, ValidationError

from evidence import canonical, digest
from evidence.errors import BadSignature, BrokenChain, InvalidInput, TooLarge
from evidence.records import Digest, Record
from evidence.signing import (
    PublicKey,
    key_id_of,
    statement,
    unverified_statement,
    verify_envelope,
)
from governance.proposals.schema import MOST_BYTES, Proposal, Vote

PREDICATE_TYPE: Final = "urn:zeropoint:proposal:v1"
"""`predicateType` of every record of the queue."""

Body = Proposal | Vote


class Predicate(Record):
    """What a record says."""

    v: Literal[1] = 1
    number: Annotated[int, Field(ge=1)]
    """1 for the first record of the service, and so on without a gap."""
    previous: Digest
    """SHA-256 of the record before it; zeros for the first."""
    proposal: Proposal | None = None
    vote: Vote | None = None


@dataclass(frozen=True, slots=True)
class Signed:
    """A record that was signed, and what it says."""

    number: int
    body: Body
    envelope: bytes

    @property
    def sha256(self) -> str:
        """What the next record names as `previous`."""
        return digest.of_bytes(self.envelope)


Sign = Callable[[Mapping[str, Any]], bytes]
"""Returns the envelope of a statement."""


def make(body: Body, *, number: int, previous: str, sign: Sign) -> Signed:
    """Return the record of a proposal or a vote.

    Raises:
        TooLarge: It is over MOST_BYTES.
    """
    size = len(canonical.encode(body.model_dump(mode="json")))
    if size > MOST_BYTES:
        raise TooLarge(
            f"the record: expected at most {MOST_BYTES} bytes of canonical JSON, found {size}",
            expected=f"at most {MOST_BYTES}",
            found=str(size),
        )
    kind = "proposal" if isinstance(body, Proposal) else "vote"
    predicate = Predicate.model_validate({"number": number, "previous": previous, kind: body})
    said = statement(
        {f"{kind}/{body.proposal_id}": digest.of_record(body.model_dump(mode="json"))},
        predicate_type=PREDICATE_TYPE,
        predicate=predicate.model_dump(mode="json"),
    )
    return Signed(number, body, sign(said))


def is_one(envelope: bytes) -> bool:
    """Return whether an entry of a log says that it is a record of the queue; nothing is checked.

    Raises:
        BadSignature: It is no envelope.
    """
    return bool(unverified_statement(envelope).get("predicateType") == PREDICATE_TYPE)


def read(envelope: bytes, keys: Mapping[str, PublicKey]) -> tuple[Signed, str]:
    """Return a record and the digest that it names as the one before it.

    Args:
        envelope: A line of the queue, without its newline, or an entry of the log.
        keys: Keys of the service, by id.

    Raises:
        BadSignature: It is not signed by the service, or says something else.
    """
    try:
        key = keys.get(key_id_of(envelope))
        if key is None:
            raise BadSignature("a record of the queue: its key is none of the service's")
        said = verify_envelope(envelope, key)
        predicate = Predicate.model_validate(said["predicate"])
        body = predicate.proposal if predicate.vote is None else predicate.vote
        if body is None or said["predicateType"] != PREDICATE_TYPE:
            raise BadSignature("a record of the queue: it holds no proposal and no vote")
    except (InvalidInput, ValidationError, KeyError, TypeError) as error:
        reason = str(error).splitlines()[0][:200]
        raise BadSignature(f"a record of the queue is malformed: {reason}") from error
    return Signed(predicate.number, body, envelope), predicate.previous


def read_chain(
    envelopes: Iterable[bytes],
    keys: Mapping[str, PublicKey],
    *,
    after: Sequence[Signed] = (),
) -> Iterable[Signed]:
    """Yield records that follow each other, as far as they do.

    Raises:
        BadSignature: When it comes to one that is not signed by the service.
        BrokenChain: When it comes to one that does not follow from the one before it.
    """
    number = after[-1].number if after else 0
    previous = after[-1].sha256 if after else digest.ZERO
    for envelope in envelopes:
        record, names = read(envelope, keys)
        if record.number != number + 1 or names != previous:
            raise BrokenChain(
                f"record {record.number} of the queue does not follow from record {number}",
                expected=f"number {number + 1} after {previous}",
                found=f"number {record.number} after {names}",
            )
        number, previous = record.number, record.sha256
        yield record
