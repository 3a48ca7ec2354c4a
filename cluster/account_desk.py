"""Accounts as the manager changes them: every change is a line of the service journal."""

from typing import Any

from cluster.audit import AuditJournal
from cluster.ledger import Ledger, Owner
from cluster.settings import Settings
from cluster.sign_in import SignInLimit
from evidence import digest
from evidence.clock import Clock
from evidence.errors import Unauthenticated
from evidence.records import Record
from governance.account_reader import FILE, csrf_of
from governance.account_store import AccountStore
from governance.accounts import OWNER, AccountKind, Caller, Quota, Role

NOWHERE = "unknown"
"""Stands for an address that the server did not tell."""


class AccountDesk:
    """The accounts of a service.

    Args:
        settings: Where the book is, how long sessions live, how often one may try to sign in.
        journal: The service journal.
        clock: The present.
    """

    def __init__(self, settings: Settings, journal: AuditJournal, *, clock: Clock) -> None:
        keys = settings.home / "keys"
        keys.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._store = AccountStore(keys / FILE, clock=clock)
        self._journal = journal
        self._clock = clock
        self._session_s = settings.session_s
        self._limit = SignInLimit(settings.max_sign_ins, clock=clock)
        self.ledger = Ledger()
        journal.subscribe(self.ledger.take)

    # -- accounts and keys ---------------------------------------------------------------------

    def accounts(self) -> list[dict[str, Any]]:
        """Return every account, without the owner, who has no record."""
        return [one.model_dump(mode="json") for one in self._store.book.accounts.values()]

    def add_account(self, name: str, kind: str, role: str, *, who: Caller) -> dict[str, Any]:
        """Make an account; see `AccountStore.add_account`."""
        made = self._store.add_account(name, kind=AccountKind(kind), role=Role(role))
        self._tell("account.added", who, None, made, account=name, kind=kind, role=role)
        return made.model_dump(mode="json")

    def change_account(
        self,
        name: str,
        *,
        role: str | None,
        disabled: bool | None,
        who: Caller,
    ) -> dict[str, Any]:
        """Change an account; see `AccountStore.change_account`."""
        wanted = Role(role) if role is not None else None
        before, after = self._store.change_account(name, role=wanted, disabled=disabled)
        self._tell(
            "account.changed", who, before, after,
            account=name, role=after.role, disabled=after.disabled,
        )  # fmt: skip
        return after.model_dump(mode="json")

    def keys(self) -> list[dict[str, Any]]:
        """Return every key, without its SHA-256."""
        return [self._view(key_id) for key_id in self._store.book.keys]

    def add_key(
        self, account: str, *, label: str, days: int, quota: dict[str, Any], who: Caller
    ) -> dict[str, Any]:
        """Make a key; its token is in the answer, and nowhere else ever."""
        limits = Quota.model_validate(quota)
        key, token = self._store.add_key(account, label=label, days=days, quota=limits)
        self._tell("key.added", who, None, key, key_id=key.key_id, account=account)
        return {**self._view(key.key_id), "token": token}

    def revoke_key(self, key_id: str, *, who: Caller) -> dict[str, Any]:
        """Refuse a key from now on; see `AccountStore.revoke_key`."""
        before, after = self._store.revoke_key(key_id)
        if before != after:
            self._tell("key.revoked", who, before, after, key_id=key_id, account=after.account)
        return self._view(key_id)

    def _view(self, key_id: str) -> dict[str, Any]:
        key = self._store.key(key_id)
        shown = key.model_dump(mode="json", exclude={"sha256"})
        return {**shown, "in_force": self._store.is_in_force(key)}

    # -- sessions ------------------------------------------------------------------------------

    def attempt_sign_in(self, address: str | None) -> None:
        """Count an attempt to sign in.

        Raises:
            RateLimited: There were too many from this address.
        """
        self._limit.attempt(address or NOWHERE)

    def refuse_sign_in(self, address: str | None) -> None:
        """Tell that somebody tried a token that is nobody's.

        Raises:
            Unauthenticated: Always.
        """
        self._journal.append("session.refused", who=NOWHERE, origin=address)
        raise Unauthenticated(
            "token: it is nobody's, expired or revoked",
            field="token",
            cure="`zpctl status` prints the path of the owner's token file; an admin makes others",
        )

    def sign_in(self, caller: Caller, token_sha256: str) -> dict[str, Any]:
        """Open a browser's session; the cookie is in the answer, and nowhere else ever."""
        self._limit.succeeded(caller.origin or NOWHERE)
        session, cookie = self._store.open_session(
            caller.name, token_sha256=token_sha256, seconds=self._session_s
        )
        self._tell("session.opened", caller, None, session)
        return {
            "account": caller.name,
            "kind": caller.kind,
            "role": caller.role,
            "expires": session.expires,
            "csrf": csrf_of(cookie),
            "cookie": cookie,
        }

    def sign_out(self, caller: Caller) -> None:
        """End the session of a browser."""
        if caller.session is not None:
            closed = self._store.close_session(caller.session)
            self._tell("session.closed", caller, closed, None)

    def session_expires(self, session: str) -> str:
        """Return when a session ends."""
        return self._store.session(session).expires

    # -- usage ---------------------------------------------------------------------------------

    def usage(self, caller: Caller) -> list[dict[str, Any]]:
        """Return what keys have used: all of them for an admin, else those of the own account."""
        told = self.ledger.usage(now=self._clock())
        sees_all = caller.role.covers(Role.ADMIN)
        return [
            {**one, "quota": self._quota(one["key_id"]).model_dump(mode="json")}
            for one in told
            if sees_all or one["account"] == caller.name
        ]

    def require_quota(self, who: "Caller | str", *, steps: int) -> None:
        """Raise if a run of so many steps would take the caller's key over its quota.

        Raises:
            RateLimited: It would.
        """
        if isinstance(who, Caller) and who.name != OWNER:
            owner: Owner = (who.name, who.key_id)
            quota = self._quota(who.key_id)
            self.ledger.require_within(quota, owner, steps=steps, now=self._clock())

    def _quota(self, key_id: str | None) -> Quota:
        key = self._store.book.keys.get(key_id or "")
        return key.quota if key is not None else Quota()

    def _tell(
        self, action: str, who: Caller, before: Record | None, after: Record | None, **more: Any
    ) -> None:
        self._journal.append(
            action, who=who, before=_digest_of(before), after=_digest_of(after), **more
        )


def _digest_of(thing: Record | None) -> str | None:
    return None if thing is None else digest.of_record(thing.model_dump(mode="json"))
