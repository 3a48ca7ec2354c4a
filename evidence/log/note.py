"""Signed notes and the keys of those who sign them. Sources: C2SP signed-note, tlog-cosignature.

A note is text, an empty line, and signature lines. Every note and key has one spelling here.
"""

import base64
import binascii
import hashlib
import re
from dataclasses import dataclass
from enum import IntEnum
from pathlib import Path
from typing import Self

from evidence.errors import BadSignature, ConfigError, InvalidInput
from evidence.files import write_atomic
from evidence.signing import PublicKey, SigningKey

VERIFIER_SUFFIX = ".vkey"
"""Suffix of the file with the verifier key, beside the private one."""

MAX_NOTE_BYTES = 1 << 16
"""A longer note is refused."""

MAX_SIGNATURES = 64
"""More signature lines are refused; C2SP signed-note asks for at least 16."""

_DASH = "\N{EM DASH} "
_KEY_ID_BYTES = 4
_OF_A_VERIFIER = re.compile(r"(?P<name>[^+]+)\+(?P<id>[0-9a-f]{8})\+(?P<key>[A-Za-z0-9+/=]+)")


class KeyType(IntEnum):
    """Which signatures a key makes."""

    ED25519 = 0x01
    """Over the text of the note: the log's."""
    COSIGNATURE = 0x04
    """Over the text and a time: a witness's (tlog-cosignature, cosignature/v1)."""


@dataclass(frozen=True, slots=True)
class Verifier:
    """A name and a public key that verifies what that name signs."""

    name: str
    """Not empty; no white space, no control character, no plus sign."""
    kind: KeyType
    key: PublicKey

    @property
    def key_id(self) -> bytes:
        """First 4 bytes of SHA-256(name || newline || type || 32 bytes of the key)."""
        named = self.name.encode() + b"\n" + bytes([self.kind]) + self.key.raw
        return hashlib.sha256(named).digest()[:_KEY_ID_BYTES]

    @property
    def text(self) -> str:
        """`name+hexhash+base64(type || key)`, as it is handed out."""
        material = to_base64(bytes([self.kind]) + self.key.raw)
        return f"{self.name}+{self.key_id.hex()}+{material}"

    @classmethod
    def parse(cls, text: str) -> Self:
        """Return the verifier that its text names.

        Raises:
            InvalidInput: It is malformed, of another type, or its hash is of another key.
        """
        found = _OF_A_VERIFIER.fullmatch(text)
        if found is None:
            raise InvalidInput(
                f"verifier key: expected name+hash+base64, found {text[:100]!r}", field="key"
            )
        material = from_base64(found["key"], what="verifier key")
        try:
            kind = KeyType(material[0])
        except ValueError as error:
            raise InvalidInput(f"verifier key: type {material[0]:#04x} is not known") from error
        verifier = cls(require_name(found["name"]), kind, PublicKey.from_raw(material[1:]))
        if verifier.text != text:
            raise InvalidInput(
                f"verifier key: expected hash {verifier.key_id.hex()}, found {found['id']}",
                field="key",
            )
        return verifier


@dataclass(frozen=True, slots=True)
class Signer:
    """A name and a private key."""

    verifier: Verifier
    key: SigningKey

    @classmethod
    def open_or_create(cls, path: Path, kind: KeyType, *, name: str | None = None) -> Self:
        """Read the key at `path`, or make one there that only its owner can read.

        Its verifier key is written beside it, with the suffix .vkey, and fixes the name for ever.

        Args:
            path: The private key, PEM; its folder must be there.
            kind: Which signatures it makes.
            name: What it is called; None is the name it has already, or the file's stem and the
                first 16 digits of the key's SHA-256.

        Raises:
            ConfigError: The key may not be used (see `SigningKey.open_or_create`), or goes by
                another name.
            InvalidInput: The name is none.
            StorageFull: There is no space.
            OSError: A file cannot be read or made.
        """
        key = SigningKey.open_or_create(path)
        told = path.with_suffix(VERIFIER_SUFFIX)
        if not told.exists():
            given = require_name(name or f"{path.stem}-{key.key_id[:16]}")
            verifier = Verifier(given, kind, key.public)
            write_atomic(told, f"{verifier.text}\n".encode())
            return cls(verifier, key)
        verifier = Verifier.parse(told.read_text(encoding="utf-8").removesuffix("\n"))
        if (verifier.kind, verifier.key.raw) != (kind, key.public.raw):
            raise ConfigError(
                f"{told}: is the verifier key of another key than {path.name}",
                cure="put the two files of one key beside each other; never make either again",
            )
        if name not in {None, verifier.name}:
            raise ConfigError(
                f"{told}: expected the name {name!r}, found {verifier.name!r}",
                cure="a key keeps its name: whoever knows it would take it for another",
            )
        return cls(verifier, key)

    def sign(self, text: str, message: bytes, *, before: bytes = b"") -> "SignatureLine":
        """Return a signature line.

        Args:
            text: Of the note, which the line is for.
            message: What is signed.
            before: What stands before the signature in the line.
        """
        require_text(text)
        return SignatureLine(
            self.verifier.name, self.verifier.key_id, before + self.key.sign(message)
        )


@dataclass(frozen=True, slots=True)
class SignatureLine:
    """One signature of a note."""

    name: str
    key_id: bytes
    """4 bytes."""
    signature: bytes
    """What the key's type makes of the text."""

    @property
    def text(self) -> str:
        """The line, with its newline."""
        return f"{_DASH}{self.name} {to_base64(self.key_id + self.signature)}\n"

    @classmethod
    def parse(cls, line: str) -> Self:
        """Return the signature of a line, given without its newline.

        Raises:
            InvalidInput: It is no signature line.
        """
        name, is_there, data = line.removeprefix(_DASH).partition(" ")
        if not line.startswith(_DASH) or not is_there:
            raise InvalidInput(f"expected a signature line, found {line[:100]!r}")
        both = from_base64(data, what="signature line")
        if len(both) <= _KEY_ID_BYTES:
            raise InvalidInput(f"signature line: expected more than 4 bytes, found {len(both)}")
        return cls(require_name(name), both[:_KEY_ID_BYTES], both[_KEY_ID_BYTES:])

    def is_by(self, verifier: Verifier) -> bool:
        """Return whether the line names that key; what it signed is not looked at."""
        return (self.name, self.key_id) == (verifier.name, verifier.key_id)


@dataclass(frozen=True, slots=True)
class Note:
    """A signed note."""

    text: str
    """Ends with a newline."""
    signatures: tuple[SignatureLine, ...]
    """At least one."""

    @property
    def data(self) -> bytes:
        """The bytes of the note."""
        return f"{self.text}\n{''.join(line.text for line in self.signatures)}".encode()

    @classmethod
    def parse(cls, data: bytes) -> Self:
        """Return the note; no signature is verified.

        Raises:
            InvalidInput: It is malformed or longer than 64 KiB.
        """
        if len(data) > MAX_NOTE_BYTES:
            raise InvalidInput(f"note: expected at most {MAX_NOTE_BYTES} bytes, found {len(data)}")
        try:
            whole = data.decode()
        except UnicodeDecodeError as error:
            raise InvalidInput("note: expected UTF-8") from error
        text, is_there, lines = whole.rpartition("\n\n")
        if not is_there or not lines.endswith("\n"):
            raise InvalidInput("note: expected text, an empty line and signature lines")
        found = lines[:-1].split("\n")
        if len(found) > MAX_SIGNATURES:
            raise InvalidInput(f"note: expected at most {MAX_SIGNATURES} signatures")
        note = cls(require_text(text + "\n"), tuple(map(SignatureLine.parse, found)))
        if note.data != data:
            raise InvalidInput("note: expected its one spelling")
        return note

    def signatures_by(self, verifier: Verifier) -> list[bytes]:
        """Return the signatures that name a key, at least one; none is verified.

        Raises:
            BadSignature: No line names it.
        """
        found = [line.signature for line in self.signatures if line.is_by(verifier)]
        if not found:
            raise BadSignature(
                f"the note has no signature by {verifier.text}", expected=verifier.text
            )
        return found


def sign(text: str, signer: Signer) -> Note:
    """Return a note with one signature over its text (type 0x01).

    Raises:
        InvalidInput: The text is none of a note.
    """
    return Note(text, (signer.sign(text, text.encode()),))


def require_signed(note: Note, verifier: Verifier) -> None:
    """Raise unless a key of type 0x01 signed the note; lines of other keys are passed over.

    Raises:
        BadSignature: No line is by that key, or one that says so does not verify.
    """
    if verifier.kind is not KeyType.ED25519:
        raise BadSignature(f"{verifier.name}: expected a key of type 0x01, found a cosigner's")
    for signature in note.signatures_by(verifier):
        verifier.key.require_signed(note.text.encode(), signature)


def require_name(name: str) -> str:
    """Return `name` if a key may have it.

    Raises:
        InvalidInput: It is empty, or has white space, a control character or a plus sign.
    """
    is_bad = any(one == "+" or one.isspace() or not one.isprintable() for one in name)
    if not name or is_bad:
        raise InvalidInput(
            f"name of a key: expected no white space and no plus sign, found {name[:100]!r}",
            field="name",
        )
    return name


def require_text(text: str) -> str:
    """Return `text` if a note may have it.

    Raises:
        InvalidInput: It does not end with a newline, or has another control character.
    """
    if not text.endswith("\n") or any(one < " " and one != "\n" for one in text):
        raise InvalidInput("text of a note: expected lines without control characters")
    return text


def to_base64(data: bytes) -> str:
    """Return standard base64 with padding (RFC 4648 §4)."""
    return base64.b64encode(data).decode()


def from_base64(text: str, *, what: str) -> bytes:
    """Return the bytes of base64 in its one spelling, at least one.

    Raises:
        InvalidInput: It is spelled otherwise, or empty.
    """
    try:
        data = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        data = b""
    if not data or to_base64(data) != text:
        raise InvalidInput(f"{what}: expected canonical base64, found {text[:100]!r}")
    return data
