"""Wire schemas of accounts, sessions, usage and the audit journal."""

from typing import Annotated, Any

from pydantic import Field

from governance.accounts import NAME_PATTERN, AccountKind, Quota, Role
from serve.schemas import Wire


class SignIn(Wire):
    """What a browser signs in with."""

    token: Annotated[str, Field(min_length=1, max_length=200, pattern=r"^[!-~]+$")]
    """A token of this service: the owner's, or a key's."""


class SessionView(Wire):
    """Who asks."""

    account: str
    kind: AccountKind
    role: Role
    csrf: str | None
    """What `x-csrf-token` must be with every change; null where a token was used, not a cookie."""
    expires: str | None
    """When the session ends; null where a token was used."""


class SignedOut(Wire):
    """That a session ended."""

    account: str
    ended: bool
    """Whether there was one; a token is not a session."""


class NewUser(Wire):
    """An account to make."""

    name: Annotated[str, Field(pattern=NAME_PATTERN)]
    kind: AccountKind = AccountKind.USER
    """`user` is a person, `service` a program."""
    role: Role = Role.VIEWER


class UserChange(Wire):
    """What to change of an account; null leaves it."""

    role: Role | None = None
    disabled: bool | None = None


class UserView(Wire):
    """An account."""

    name: str
    kind: AccountKind
    role: Role
    created: str
    disabled: bool


class UserList(Wire):
    """Every account but the owner."""

    users: list[UserView]


class NewKey(Wire):
    """A key to make."""

    account: Annotated[str, Field(pattern=NAME_PATTERN)]
    label: Annotated[str, Field(max_length=64, pattern=r"^[ -~]*$")] = ""
    """What it is for."""
    days: Annotated[int, Field(ge=1, le=366)] = 90
    """Its life in days."""
    quota: Quota = Quota()


class KeyView(Wire):
    """A key, without its token."""

    key_id: str
    account: str
    label: str
    created: str
    expires: str
    revoked: str | None
    in_force: bool
    """Whether it is good now: not expired, not revoked, its account not disabled."""
    quota: Quota


class NewKeyView(KeyView):
    """A key that was made, with its token, once."""

    token: str


class KeyList(Wire):
    """Every key."""

    keys: list[KeyView]


class UsageView(Wire):
    """What one key has used."""

    account: str
    """An account, `owner`, or a Ray job."""
    key_id: str | None
    """Null for Ray jobs."""
    runs: int
    """Runs submitted."""
    steps: int
    """Updates done."""
    device_s: float
    """Seconds that devices were taken, added up over the workers."""
    bytes: int
    """Bytes of the folders of its runs, as they were when each run last stopped; not of deleted
    runs."""
    live_runs: int
    """Runs queued and running now."""
    runs_per_day: int
    """Runs submitted within the last 24 hours."""
    steps_per_day: int
    """Updates that these asked for."""
    device_s_per_day: float
    """Device seconds of runs that stopped within the last 24 hours, or go on."""
    quota: Quota


class UsageList(Wire):
    """Usage by key."""

    usage: list[UsageView]


class AuditLines(Wire):
    """Some lines of the audit journal, oldest first."""

    lines: list[dict[str, Any]]
    next_after: int
    """`after` of the next page."""
    last_seq: int
    """Sequence number of the newest line."""
