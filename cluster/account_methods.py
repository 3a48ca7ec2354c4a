"""The manager actor's methods about accounts, sessions, usage and the audit journal.

Ray takes an actor's methods from its class, so this one is inherited; it holds no state.
"""

from typing import TYPE_CHECKING, Any

import ray

from cluster.audit_pages import Filter
from governance.accounts import Caller

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

    from cluster.account_desk import AccountDesk
    from cluster.manager import Manager

    Begin = Callable[[], Coroutine[Any, Any, None]]


class AccountMethods:
    """See `cluster.account_desk.AccountDesk` for what the methods do."""

    _manager: "Manager"
    _begin: "Begin"
    """Waits until the manager has begun; the actor has it."""

    async def _desk(self) -> "AccountDesk":
        await self._begin()
        return self._manager.accounts

    @ray.method
    async def accounts(self) -> list[dict[str, Any]]:
        """Return every account."""
        return (await self._desk()).accounts()

    @ray.method
    async def add_account(self, name: str, kind: str, role: str, who: Caller) -> dict[str, Any]:
        """Make an account."""
        return (await self._desk()).add_account(name, kind, role, who=who)

    @ray.method
    async def change_account(
        self, name: str, wanted: dict[str, Any], who: Caller
    ) -> dict[str, Any]:
        """Change the role of an account (`role`), or whether it is let in (`disabled`)."""
        return (await self._desk()).change_account(name, **wanted, who=who)

    @ray.method
    async def account_keys(self) -> list[dict[str, Any]]:
        """Return every key."""
        return (await self._desk()).keys()

    @ray.method
    async def add_key(self, account: str, wanted: dict[str, Any], who: Caller) -> dict[str, Any]:
        """Make a key (`label`, `days`, `quota`); its token is in the answer."""
        return (await self._desk()).add_key(account, **wanted, who=who)

    @ray.method
    async def revoke_key(self, key_id: str, who: Caller) -> dict[str, Any]:
        """Refuse a key from now on."""
        return (await self._desk()).revoke_key(key_id, who=who)

    @ray.method
    async def attempt_sign_in(self, address: str | None) -> None:
        """Count an attempt to sign in."""
        (await self._desk()).attempt_sign_in(address)

    @ray.method
    async def refuse_sign_in(self, address: str | None) -> None:
        """Tell that somebody tried a token that is nobody's."""
        (await self._desk()).refuse_sign_in(address)

    @ray.method
    async def sign_in(self, who: Caller, token_sha256: str) -> dict[str, Any]:
        """Open a browser's session."""
        return (await self._desk()).sign_in(who, token_sha256)

    @ray.method
    async def sign_out(self, who: Caller) -> None:
        """End the session of a browser."""
        (await self._desk()).sign_out(who)

    @ray.method
    async def session_expires(self, session: str) -> str:
        """Return when a session ends."""
        return (await self._desk()).session_expires(session)

    @ray.method
    async def usage(self, who: Caller) -> list[dict[str, Any]]:
        """Return what keys have used."""
        return (await self._desk()).usage(who)

    @ray.method
    async def audit_lines(self, wanted: dict[str, Any], after: int, limit: int) -> dict[str, Any]:
        """Return one page of the audit journal, oldest first, by the fields of `Filter`."""
        await self._begin()
        return self._manager.audit.page(Filter(**wanted), after=after, limit=limit)
