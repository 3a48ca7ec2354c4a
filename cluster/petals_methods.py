"""The manager actor's methods for the Petals bridge.

Ray takes an actor's methods from its class, so this one is inherited; it holds no state.
"""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import ray

from cluster.audit import Who

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

    from cluster.manager import Manager

    Begin = Callable[[], Coroutine[Any, Any, None]]


class PetalsMethods:
    """See `cluster.petals_desk.PetalsDesk` for what the methods do."""

    _manager: "Manager"
    _begin: "Begin"
    """Waits until the manager has begun; the actor has it."""

    @ray.method
    async def petals_allowlist(self) -> dict[str, Any]:
        """Return the allowlist of the Petals bridge."""
        await self._begin()
        return self._manager.petals.allowlist()

    @ray.method
    async def petals_set_allowlist(
        self, counter: int, entries: Sequence[Mapping[str, Any]], who: Who
    ) -> dict[str, Any]:
        """Replace the allowlist that has this counter."""
        await self._begin()
        return self._manager.petals.set_allowlist(counter, entries, who=who)

    @ray.method
    async def petals_expel(self, peer_id: str, why: str) -> int | None:
        """Take a peer that lied off the allowlist."""
        await self._begin()
        return self._manager.petals.expel(peer_id, why)

    @ray.method
    async def petals_record(self, action: str, details: Mapping[str, Any]) -> None:
        """Write what the bridge did into the service journal."""
        await self._begin()
        self._manager.petals.record(action, details)
