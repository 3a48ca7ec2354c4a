"""The keys that a service has signed with, one after another, and the proof of their order.

    service.key        the private key that signs now, 0600     service.pub   its public half
    history.jsonl      one signed statement for each key
    service.key.next   a rotation that is under way

Each line of the history introduces a key and is signed by the key before it, the first by itself.
Who trusts one key of a history can so trust what later ones signed. A retired private key is
overwritten by its successor and exists no more.
"""

from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import Field, ValidationError

from evidence import digest, files
from evidence.errors import BadSignature, InvalidInput
from evidence.records import Digest, Record
from evidence.signing import (
    PUBLIC_SUFFIX,
    PublicKey,
    SigningKey,
    sign_statement,
    statement,
    unverified_statement,
    verify_envelope,
)

PREDICATE_TYPE = "urn:zeropoint:key:v1"
"""`predicateType` of the statement that introduces a key."""

SERVICE_KEY = "service.key"
"""Name of the private key's file."""

MAX_KEYS = 1000
"""Most lines of a history."""

_HISTORY = "history.jsonl"
_NEXT = f"{SERVICE_KEY}.next"


class Introduction(Record):
    """Predicate of the statement that introduces a key."""

    v: Literal[1]
    number: Annotated[int, Field(ge=1, le=MAX_KEYS)]
    """1 for the first key."""
    key: Annotated[str, Field(max_length=1000)]
    """PEM."""
    previous: Digest | None
    """SHA-256 of the line before, without its newline; null for the first key."""


class Keyring:
    """The signing key of a service and the history that leads to it.

    Args:
        key: What signs now.
        history: history.jsonl.
    """

    def __init__(self, key: SigningKey, history: bytes) -> None:
        self.key = key
        self.history = history

    @classmethod
    def open_or_create(cls, folder: Path) -> Self:
        """Read the keys in `folder`, made if there are none; end a rotation that was cut off.

        Raises:
            ConfigError: A key file can be read by others, or holds no key.
            BadSignature: The history is damaged, or leads to another key.
            StorageFull: There is no space.
            OSError: A file cannot be read or made.
        """
        _end_rotation(folder)
        key = SigningKey.open_or_create(folder / SERVICE_KEY)
        path = folder / _HISTORY
        if not path.exists():
            files.write_atomic(path, introduce(key, by=key, after=b""))
        history = path.read_bytes()
        last = read_history(history)[-1]
        if last.key_id != key.key_id:
            raise BadSignature(
                f"{_HISTORY}: leads to key {last.key_id}, {SERVICE_KEY} is {key.key_id}",
                expected=key.key_id,
                found=last.key_id,
            )
        return cls(key, history)


def rotate(folder: Path) -> Keyring:
    """Replace the signing key of a service that is stopped, and return what signs from now on.

    A crash leaves the old key or the new one, never neither; see `Keyring.open_or_create`.

    Raises:
        ServiceError: As for `Keyring.open_or_create`.
    """
    old = Keyring.open_or_create(folder)
    new = SigningKey.open_or_create(folder / _NEXT)
    history = old.history + introduce(new, by=old.key, after=old.history)
    files.write_atomic(folder / _HISTORY, history)
    return Keyring.open_or_create(folder)


def _end_rotation(folder: Path) -> None:
    """Put a new key in place that the history knows; forget one that it does not know."""
    path = folder / _NEXT
    if not path.exists():
        return
    public = path.with_suffix(PUBLIC_SUFFIX)
    new = SigningKey.open_or_create(path)
    history = folder / _HISTORY
    if history.exists() and read_history(history.read_bytes())[-1].key_id == new.key_id:
        path.replace(folder / SERVICE_KEY)
    else:
        path.unlink()
    public.unlink(missing_ok=True)
    files.fsync_folder(folder)


def introduce(new: SigningKey, *, by: SigningKey, after: bytes) -> bytes:
    """Return the line that introduces a key, with its newline.

    Args:
        new: The key.
        by: The one before it, which signs; `new` itself where it is the first.
        after: The history so far.
    """
    lines = after.splitlines()
    introduction = Introduction(
        v=1,
        number=len(lines) + 1,
        key=new.public.pem.decode(),
        previous=digest.of_bytes(lines[-1]) if lines else None,
    )
    made = statement(
        {"service.pub": digest.of_bytes(new.public.pem)},
        predicate_type=PREDICATE_TYPE,
        predicate=introduction.model_dump(mode="json"),
    )
    return sign_statement(by, made) + b"\n"


def read_history(data: bytes) -> list[PublicKey]:
    """Return the keys of a history, oldest first, each introduced by the one before it.

    Raises:
        BadSignature: It is no such history; names the line.
    """
    lines = data.split(b"\n")
    if lines.pop() != b"" or not 1 <= len(lines) <= MAX_KEYS:
        raise BadSignature(f"expected 1 to {MAX_KEYS} whole lines, found {len(lines)}")
    keys: list[PublicKey] = []
    previous = None
    for number, line in enumerate(lines, 1):
        try:
            keys.append(_read_line(line, number=number, previous=previous, by=keys[-1:]))
        except (BadSignature, InvalidInput) as error:
            raise BadSignature(f"line {number}: {error.detail}") from error
        previous = digest.of_bytes(line)
    if len({key.key_id for key in keys}) != len(keys):
        raise BadSignature("a key stands in the history twice")
    return keys


def _read_line(line: bytes, *, number: int, previous: str | None, by: list[PublicKey]) -> PublicKey:
    claimed = _introduction(line)
    key = PublicKey.from_pem(claimed.key.encode())
    found = verify_envelope(line, by[0] if by else key)
    expected = statement(
        {"service.pub": digest.of_bytes(key.pem)},
        predicate_type=PREDICATE_TYPE,
        predicate=Introduction(v=1, number=number, key=claimed.key, previous=previous).model_dump(),
    )
    if found != expected:
        raise BadSignature("the statement does not introduce the next key")
    return key


def _introduction(line: bytes) -> Introduction:
    """Return what an envelope claims, before its signature is checked."""
    try:
        return Introduction.model_validate(unverified_statement(line).get("predicate"))
    except ValidationError as error:
        raise InvalidInput(f"not an introduction of a key: {error.errors()[0]['msg']}") from error
