"""Tree heads: what a log says of itself at one size, signed. Source: C2SP tlog-checkpoint."""

import re
from dataclasses import dataclass
from typing import Self

from evidence.errors import InvalidInput
from evidence.log import note
from evidence.log.merkle import HASH_BYTES, MAX_SIZE
from evidence.log.note import Note, Signer, Verifier

_OF_A_SIZE = re.compile(r"0|[1-9][0-9]{0,18}", re.ASCII)
_LINES = 3


@dataclass(frozen=True, slots=True)
class TreeHead:
    """Size and root of a log."""

    origin: str
    """The log's identity, which is the name of its key."""
    size: int
    """Entries, below 2**63."""
    root: bytes
    """32 bytes."""
    extensions: tuple[str, ...] = ()
    """Further lines, which mean nothing here; logs of this project have none."""

    @property
    def text(self) -> str:
        """The text of the note that is signed."""
        lines = [self.origin, str(self.size), note.to_base64(self.root), *self.extensions]
        return "".join(f"{line}\n" for line in lines)

    @classmethod
    def parse(cls, text: str) -> Self:
        """Return the tree head of a note's text.

        Raises:
            InvalidInput: It is malformed.
        """
        lines = text.removesuffix("\n").split("\n")
        if len(lines) < _LINES or not all(lines) or not text.endswith("\n"):
            raise InvalidInput("tree head: expected origin, size and root, a line each")
        origin, size, root, *extensions = lines
        found = note.from_base64(root, what="root of the tree head")
        if len(found) != HASH_BYTES:
            raise InvalidInput(f"tree head: expected a root of 32 bytes, found {len(found)}")
        return cls(origin, parse_size(size, what="tree head"), found, tuple(extensions))


@dataclass(frozen=True, slots=True)
class SignedTreeHead:
    """A tree head and the note that it came in."""

    head: TreeHead
    note: Note

    @classmethod
    def parse(cls, data: bytes) -> Self:
        """Return the tree head of a note; no signature is verified.

        Raises:
            InvalidInput: It is malformed.
        """
        parsed = Note.parse(data)
        return cls(TreeHead.parse(parsed.text), parsed)


def sign(head: TreeHead, signer: Signer) -> bytes:
    """Return the signed note of a tree head.

    Raises:
        InvalidInput: The head is not that of the signer's log.
    """
    if head.origin != signer.verifier.name:
        raise InvalidInput(f"origin: expected {signer.verifier.name!r}, found {head.origin!r}")
    return note.sign(head.text, signer).data


def verify(data: bytes, verifier: Verifier) -> SignedTreeHead:
    """Return the tree head in a note that the log with this key signed.

    Raises:
        InvalidInput: The note is malformed.
        BadSignature: It is of another log, or not signed by this key.
    """
    signed = SignedTreeHead.parse(data)
    note.require_signed(signed.note, verifier)
    if signed.head.origin != verifier.name:
        raise InvalidInput(
            f"origin: expected {verifier.name!r}, found {signed.head.origin[:100]!r}"
        )
    return signed


def parse_size(text: str, *, what: str) -> int:
    """Return a size that is spelled without leading zeros.

    Raises:
        InvalidInput: It is none, or not below 2**63.
    """
    if not _OF_A_SIZE.fullmatch(text) or int(text) >= MAX_SIZE:
        raise InvalidInput(f"{what}: expected a size, found {text[:40]!r}", field="size")
    return int(text)
