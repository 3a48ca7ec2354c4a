"""A proof that stands alone: an entry's place, the hashes to the root, the tree head.

Source: C2SP tlog-proof. With the entry and the keys of log and witnesses it is checked offline.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Self

from evidence.errors import BadSignature, InvalidInput
from evidence.log import merkle, note, tree_head
from evidence.log.cosignature import require_cosigned
from evidence.log.merkle import HASH_BYTES, MAX_PROOF_HASHES
from evidence.log.note import Verifier
from evidence.log.tree_head import SignedTreeHead

_HEADER = "c2sp.org/tlog-proof@v1"
_INDEX = "index "


@dataclass(frozen=True, slots=True)
class InclusionProof:
    """That an entry stands at a place in the tree of a signed head."""

    index: int
    """0 for the first entry."""
    hashes: tuple[bytes, ...]
    """The leaf's sibling first."""
    signed: SignedTreeHead

    @property
    def data(self) -> bytes:
        """The bytes of the proof."""
        lines = [_HEADER, f"{_INDEX}{self.index}", *map(note.to_base64, self.hashes), ""]
        return "".join(f"{line}\n" for line in lines).encode() + self.signed.note.data

    @classmethod
    def parse(cls, data: bytes) -> Self:
        """Return the proof; nothing is verified. One with an `extra` line is refused.

        Raises:
            InvalidInput: It is malformed.
        """
        above, _, signed = data.partition(b"\n\n")
        try:
            header, *lines = above.decode("ascii").split("\n")
        except UnicodeDecodeError as error:
            raise InvalidInput("proof: expected ASCII before the tree head") from error
        if header != _HEADER or not lines or not lines[0].startswith(_INDEX):
            raise InvalidInput(f"proof: expected {_HEADER} and an index")
        index = tree_head.parse_size(lines[0].removeprefix(_INDEX), what="index")
        hashes = tuple(note.from_base64(line, what="proof") for line in lines[1:])
        if len(hashes) > MAX_PROOF_HASHES or any(len(one) != HASH_BYTES for one in hashes):
            raise InvalidInput(f"proof: expected at most {MAX_PROOF_HASHES} hashes of 32 bytes")
        return cls(index, hashes, SignedTreeHead.parse(signed))

    def verify(self, entry: bytes, log: Verifier) -> None:
        """Raise unless the log signed a tree head with `entry` at this place.

        Raises:
            BadSignature: The log did not sign the tree head.
            InvalidInput: The tree head is of another log.
            BadProof: The hashes do not lead to its root.
        """
        head = tree_head.verify(self.signed.note.data, log).head
        merkle.require_included(
            merkle.leaf_hash(entry),
            index=self.index,
            size=head.size,
            proof=self.hashes,
            root=head.root,
        )

    def cosigned_by(self, witnesses: Iterable[Verifier]) -> dict[str, int]:
        """Return which witnesses cosigned the tree head, by name, and when (s since 1970).

        A cosignature by one of them that does not verify does not count.
        """
        times = {}
        for witness in witnesses:
            try:
                times[witness.name] = require_cosigned(self.signed.note, witness)
            except BadSignature:
                continue
        return times
