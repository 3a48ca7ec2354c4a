"""Cosignatures: a witness says that it saw a tree head, and when. Source: C2SP tlog-cosignature.

Version cosignature/v1: Ed25519 over the time and the whole text of the note. It says that the tree
head is the largest consistent one that the witness had seen of this log at that time.
"""

from collections.abc import Iterable

from evidence.errors import BadSignature, InvalidInput
from evidence.log.note import KeyType, Note, SignatureLine, Signer, Verifier

MAX_TIME_S = (1 << 63) - 1
"""Latest time that a cosignature may carry."""

_TIME_BYTES = 8
_SIGNATURE_BYTES = 64


def cosign(text: str, signer: Signer, *, time_s: int) -> SignatureLine:
    """Return the cosignature line of a tree head.

    Args:
        text: Of the note.
        signer: The witness; its key is of type 0x04.
        time_s: Now, in whole seconds since 1970 (POSIX time).

    Raises:
        InvalidInput: The key is of another type, or there is no such time.
    """
    if signer.verifier.kind is not KeyType.COSIGNATURE:
        raise InvalidInput(f"{signer.verifier.name}: expected a key of type 0x04")
    if not 0 <= time_s <= MAX_TIME_S:
        raise InvalidInput(f"time: expected 0 to 2**63 - 1 seconds, found {time_s}")
    before = time_s.to_bytes(_TIME_BYTES, "big")
    return signer.sign(text, _message(text, time_s), before=before)


def require_cosigned(note: Note, verifier: Verifier) -> int:
    """Return when a witness cosigned the note, in seconds since 1970: its latest cosignature.

    Raises:
        BadSignature: No line is by that key, or one that says so does not verify.
    """
    return max(_verified(note.text, one, verifier) for one in note.signatures_by(verifier))


def read_lines(data: bytes) -> list[SignatureLine]:
    """Return the signature lines that a witness answered with; none is verified.

    Raises:
        InvalidInput: It is something else.
    """
    try:
        text = data.decode()
    except UnicodeDecodeError as error:
        raise InvalidInput("cosignatures: expected UTF-8") from error
    if not text.endswith("\n"):
        raise InvalidInput("cosignatures: expected lines")
    lines = [SignatureLine.parse(line) for line in text[:-1].split("\n")]
    if "".join(line.text for line in lines) != text:
        raise InvalidInput("cosignatures: expected their one spelling")
    return lines


def attach(note: Note, lines: Iterable[SignatureLine]) -> Note:
    """Return the note with further signature lines behind its own; equal ones stand once."""
    return Note(note.text, tuple(dict.fromkeys([*note.signatures, *lines])))


def _verified(text: str, signature: bytes, verifier: Verifier) -> int:
    if verifier.kind is not KeyType.COSIGNATURE:
        raise BadSignature(f"{verifier.name}: expected a cosigner's key of type 0x04")
    if len(signature) != _TIME_BYTES + _SIGNATURE_BYTES:
        raise BadSignature(f"{verifier.name}: expected 72 bytes, found {len(signature)}")
    time_s = int.from_bytes(signature[:_TIME_BYTES], "big")
    if time_s > MAX_TIME_S:
        raise BadSignature(f"{verifier.name}: the time is above 2**63 - 1")
    verifier.key.require_signed(_message(text, time_s), signature[_TIME_BYTES:])
    return time_s


def _message(text: str, time_s: int) -> bytes:
    return f"cosignature/v1\ntime {time_s}\n{text}".encode()
