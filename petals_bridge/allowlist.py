"""Who may serve us and who may use our blocks: a TOML list, signed, with a counter that only grows.

    allowlist.toml    counter, and a [[peer]] for each: id, label, rights, expiry
    allowlist.dsse    the signed statement that names counter and SHA-256 of the list

A list is taken in by these rules, in order: (1) the signature is by a key of the service; (2) it
is about exactly these bytes; (3) the list is well formed; (4) its counter is the signed one; (5)
the counter is above that of the list in force, unless it is that very list. A list that breaks one
is refused with the reason, and the last good one stays in force. An entry that has expired grants
nothing. Where there has never been a good list, nobody may do anything.
"""

import re
import tomllib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Annotated, Any, Literal, Self

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, ValidationError, field_validator

from evidence import digest
from evidence.errors import BadSignature, Conflict, InvalidInput
from evidence.signing import PublicKey, key_id_of, statement, verify_envelope
from petals_bridge.peers import PeerId, require_peer_id

PREDICATE_TYPE = "urn:zeropoint:petals-allowlist:v1"
"""`predicateType` of the statement that signs a list."""

LIST_NAME = "allowlist.toml"
SIGNATURE_NAME = "allowlist.dsse"

MAX_PEERS = 1_000
"""Most entries of a list."""

MAX_BYTES = 1 << 20
"""A longer list is refused unread."""

_PLAIN = re.compile(r"[^\x00-\x1f\x7f\"\\]*")


class Right(StrEnum):
    """What a listed peer may do."""

    SERVE = "serve"
    """Serve blocks to us."""
    USE = "use"
    """Use our blocks."""


class Entry(BaseModel):
    """One listed peer."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    id: str
    """Its peer id."""
    label: Annotated[str, Field(min_length=1, max_length=80)]
    """Who it is, for people."""
    rights: Annotated[tuple[Right, ...], Field(min_length=1)]
    expires: AwareDatetime | None = None
    """Moment from which the entry grants nothing; without one it does not expire."""

    @field_validator("id")
    @classmethod
    def _is_peer_id(cls, value: str) -> str:
        try:
            return require_peer_id(value, field="id")
        except InvalidInput as error:
            raise ValueError(error.detail) from error

    @field_validator("label")
    @classmethod
    def _is_plain(cls, value: str) -> str:
        if not _PLAIN.fullmatch(value):
            raise ValueError("expected no control characters, quotes or backslashes")
        return value

    @field_validator("rights")
    @classmethod
    def _are_distinct(cls, value: tuple[Right, ...]) -> tuple[Right, ...]:
        if len(set(value)) != len(value):
            raise ValueError("expected each right once")
        return value

    def is_in_force(self, now: datetime) -> bool:
        """Return whether the entry has not expired."""
        return self.expires is None or now < self.expires


class Allowlist(BaseModel):
    """A whole list."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    counter: Annotated[int, Field(ge=1, le=2**53 - 1)]
    """Grows with each change; a list with a lower one is a replay."""
    peer: Annotated[tuple[Entry, ...], Field(max_length=MAX_PEERS)] = ()

    @field_validator("peer")
    @classmethod
    def _are_distinct(cls, value: tuple[Entry, ...]) -> tuple[Entry, ...]:
        if len({entry.id for entry in value}) != len(value):
            raise ValueError("expected each peer once")
        return value

    @classmethod
    def parse(cls, data: bytes) -> Self:
        """Return the list in the bytes of a TOML file.

        Raises:
            InvalidInput: It is not TOML, or not a list; the field is named.
        """
        if len(data) > MAX_BYTES:
            raise InvalidInput(f"{LIST_NAME}: expected at most {MAX_BYTES} bytes", field=LIST_NAME)
        try:
            return cls.model_validate(tomllib.loads(data.decode()))
        except (UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
            raise InvalidInput(f"{LIST_NAME}: expected TOML, found: {error}") from error
        except ValidationError as error:
            raise of_validation(error) from error

    @property
    def data(self) -> bytes:
        """The list as TOML, equal for equal lists."""
        lines = [f"counter = {self.counter}"]
        for entry in self.peer:
            rights = ", ".join(f'"{right}"' for right in entry.rights)
            lines += ["", "[[peer]]", f'id = "{entry.id}"', f'label = "{entry.label}"']
            lines += [f"rights = [{rights}]"]
            lines += [f"expires = {entry.expires.isoformat()}"] if entry.expires else []
        return ("\n".join(lines) + "\n").encode()

    def allows(self, peer_id: str, right: Right, *, now: datetime) -> bool:
        """Return whether a peer has a right at a moment."""
        entry = self.entry(peer_id)
        return entry is not None and right in entry.rights and entry.is_in_force(now)

    def knows(self, peer_id: str, *, now: datetime) -> bool:
        """Return whether a peer has any right at a moment: whether it is of this swarm."""
        entry = self.entry(peer_id)
        return entry is not None and entry.is_in_force(now)

    def entry(self, peer_id: str) -> Entry | None:
        """Return the entry of a peer."""
        return next((entry for entry in self.peer if entry.id == peer_id), None)

    def having(self, right: Right, *, now: datetime) -> frozenset[PeerId]:
        """Return the peers that have a right at a moment."""
        return frozenset(
            PeerId(entry.id)
            for entry in self.peer
            if right in entry.rights and entry.is_in_force(now)
        )

    def replaced(self, entries: Iterable[Entry]) -> "Allowlist":
        """Return the next list, with these entries.

        Raises:
            InvalidInput: They are no list.
        """
        try:
            return Allowlist(counter=self.counter + 1, peer=tuple(entries))
        except ValidationError as error:
            raise of_validation(error) from error

    def without(self, peer_id: str) -> "Allowlist":
        """Return the next list, without a peer."""
        return self.replaced(entry for entry in self.peer if entry.id != peer_id)


class Signed(BaseModel):
    """Predicate of the statement that signs a list."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    v: Literal[1]
    counter: Annotated[int, Field(ge=1, le=2**53 - 1)]


@dataclass(frozen=True, slots=True)
class Taken:
    """A list in force, and the bytes that it came from."""

    allowlist: Allowlist
    data: bytes


def of_validation(error: ValidationError) -> InvalidInput:
    """Return the error that names the first field at fault."""
    first = error.errors()[0]
    field = ".".join(map(str, first["loc"])) or LIST_NAME
    found = repr(first.get("input"))[:100]
    return InvalidInput(
        f"{field}: {first['msg']}, found {found}", field=field, expected=first["msg"], found=found
    )


def as_statement(allowlist: Allowlist) -> dict[str, Any]:
    """Return the statement that signs a list."""
    return statement(
        {LIST_NAME: digest.of_bytes(allowlist.data)},
        predicate_type=PREDICATE_TYPE,
        predicate={"v": 1, "counter": allowlist.counter},
    )


def take(
    data: bytes, envelope: bytes, *, keys: Sequence[PublicKey], in_force: Taken | None
) -> Taken:
    """Return the list that is in force from now on.

    Args:
        data: allowlist.toml.
        envelope: allowlist.dsse.
        keys: Keys of the service, retired ones too.
        in_force: What was in force until now.

    Raises:
        BadSignature: Rule 1, 2 or 4 is broken.
        InvalidInput: Rule 3 is broken.
        Conflict: Rule 5 is broken: a replay.
    """
    key_id = key_id_of(envelope)
    key = next((key for key in keys if key.key_id == key_id), None)
    if key is None:  # (1)
        raise BadSignature(f"{SIGNATURE_NAME}: signed by key {key_id}, not a key of this service")
    said = verify_envelope(envelope, key)
    subject = [{"name": LIST_NAME, "digest": {"sha256": digest.of_bytes(data)}}]
    if said.get("predicateType") != PREDICATE_TYPE or said.get("subject") != subject:  # (2)
        raise BadSignature(f"{SIGNATURE_NAME}: is not about this {LIST_NAME}")
    allowlist = Allowlist.parse(data)  # (3)
    try:
        signed = Signed.model_validate(said["predicate"])
    except ValidationError as error:
        raise BadSignature(f"{SIGNATURE_NAME}: malformed predicate") from error
    if signed.counter != allowlist.counter:  # (4)
        raise BadSignature(
            f"{SIGNATURE_NAME}: signs counter {signed.counter}, the list has {allowlist.counter}"
        )
    if in_force is not None and data != in_force.data:
        _require_newer(allowlist, in_force.allowlist)  # (5)
    return Taken(allowlist, data)


def _require_newer(offered: Allowlist, in_force: Allowlist) -> None:
    if offered.counter <= in_force.counter:
        raise Conflict(
            f"{LIST_NAME}: a replay: expected a counter above {in_force.counter}, "
            f"found {offered.counter}",
            field="counter",
            expected=f"above {in_force.counter}",
            found=str(offered.counter),
        )
