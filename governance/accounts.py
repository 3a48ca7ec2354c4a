"""Who may ask this service, and what for: accounts, their keys, roles, quotas, browser sessions.

Pure data and rules; `account_store` keeps them. An account is a person (`user`) or a program
(`service`). It is known by keys, each a token that was shown once and of which only the SHA-256 is
kept: tokens are 32 random bytes, so that no slow hash is needed to protect them.
"""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Annotated, Literal, Self

from pydantic import Field

from evidence.clock import moment
from evidence.records import Digest, Record, Timestamp

OWNER = "owner"
"""The account of whoever can read the service's token file; it has every right, and no record."""

NAME_PATTERN = r"^[a-z][a-z0-9._-]{0,31}$"
KEY_ID_PATTERN = r"^key-[0-9a-f]{12}$"
FILE_KEY = "file"
"""Key id of the token in the service's token file."""

RESERVED = frozenset({OWNER, "api", "job", "reviewer", "service"})
"""Names that journals use for others than accounts."""

AccountName = Annotated[str, Field(pattern=NAME_PATTERN)]
KeyId = Annotated[str, Field(pattern=KEY_ID_PATTERN)]
Most = Annotated[int, Field(ge=0, le=2**53 - 1)] | None


class Role(StrEnum):
    """What an account may do; each role may do what those before it may."""

    VIEWER = "viewer"
    """Read everything but accounts and the audit journal."""
    OPERATOR = "operator"
    """Start, cancel and resume runs, make proposals."""
    REVIEWER = "reviewer"
    """Vote on proposals, read the audit journal."""
    ADMIN = "admin"
    """Manage accounts, delete runs."""

    @property
    def rank(self) -> int:
        """0 for the least."""
        return list(Role).index(self)

    def covers(self, needed: "Role") -> bool:
        """Return whether it may do what `needed` may."""
        return self.rank >= needed.rank


class AccountKind(StrEnum):
    """What stands behind an account."""

    USER = "user"
    """A person; only a person casts the human vote."""
    SERVICE = "service"
    """A program; a reviewer among them may cast the AI vote."""


class Quota(Record):
    """The most that one key may have and use; null does not limit."""

    live_runs: Most = None
    """Runs queued and running together."""
    runs_per_day: Most = None
    """Runs submitted within 24 hours."""
    steps_per_day: Most = None
    """Updates asked for by runs submitted within 24 hours."""
    device_s_per_day: Most = None
    """Device seconds used within 24 hours."""
    stored_bytes: Most = None
    """Bytes of the folders of its runs."""


class Account(Record):
    """A person or a program."""

    name: AccountName
    kind: AccountKind
    role: Role
    created: Timestamp
    disabled: bool = False
    """Whether all its keys and sessions are refused."""


class Key(Record):
    """One token of an account."""

    key_id: KeyId
    account: AccountName
    label: Annotated[str, Field(max_length=64)]
    """What it is for, for people."""
    sha256: Digest
    """Of the token."""
    created: Timestamp
    expires: Timestamp
    """From when on it is refused."""
    revoked: Timestamp | None = None
    quota: Quota = Quota()


class Session(Record):
    """A browser that signed in; its cookie's SHA-256 is its name in the book."""

    account: str
    token_sha256: Digest
    """Of the token that it was opened with; it ends when that is good no more."""
    created: Timestamp
    expires: Timestamp


class Book(Record):
    """All accounts of a service."""

    v: Literal[1] = 1
    accounts: dict[str, Account] = Field(default={})
    """By name."""
    keys: dict[str, Key] = Field(default={})
    """By key id."""
    sessions: dict[str, Session] = Field(default={})
    """By the SHA-256 of the cookie."""


@dataclass(frozen=True, slots=True)
class Caller:
    """Who asks, as the guard of HTTP found out."""

    name: str
    """Name of the account."""
    kind: AccountKind
    role: Role
    key_id: str
    """The key that was used, FILE_KEY for the token file's."""
    origin: str | None = None
    """Address that it came from."""
    session: str | None = None
    """SHA-256 of the cookie, where a browser's session was used."""

    def __str__(self) -> str:
        """Return the name."""
        return self.name

    @classmethod
    def owner(cls, *, origin: str | None = None, session: str | None = None) -> Self:
        """Return whoever can read the token file."""
        return cls(OWNER, AccountKind.USER, Role.ADMIN, FILE_KEY, origin, session)


def is_in_force(key: Key, book: Book, *, now: datetime) -> bool:
    """Return whether a key is good: not revoked, not expired, its account not disabled."""
    account = book.accounts.get(key.account)
    is_known = account is not None and not account.disabled
    return is_known and key.revoked is None and now < moment(key.expires)
