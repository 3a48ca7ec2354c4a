"""The manager actor's methods about proposals.

Ray takes an actor's methods from its class, so this one is inherited; it holds no state.
"""

from typing import TYPE_CHECKING, Any

import ray

from governance.accounts import Caller
from governance.proposals.schema import Draft

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

    from cluster.manager import Manager

    Begin = Callable[[], Coroutine[Any, Any, None]]


class ProposalMethods:
    """See `cluster.proposal_desk.ProposalDesk` for what the methods do."""

    _manager: "Manager"
    _begin: "Begin"
    """Waits until the manager has begun; the actor has it."""

    @ray.method
    async def propose(
        self, draft: Draft, who: Caller, idempotency_key: str | None
    ) -> dict[str, Any]:
        """Take in a proposal."""
        await self._begin()
        return self._manager.proposals.submit(draft, who=who, idempotency_key=idempotency_key)

    @ray.method
    async def vote(self, proposal_id: str, vote: dict[str, Any], who: Caller) -> dict[str, Any]:
        """Record a vote (`side`, `verdict`, `reasons`)."""
        await self._begin()
        return self._manager.proposals.vote(proposal_id, **vote, who=who)

    @ray.method
    async def validate(self, proposal_id: str, who: Caller) -> dict[str, Any]:
        """Have the built-in reviewer look at a proposal and record its vote."""
        await self._begin()
        review = self._manager.reviewer.validate(proposal_id, who=who)
        return await self._manager.carry_through(review)

    @ray.method
    async def proposal(self, proposal_id: str) -> dict[str, Any]:
        """Return one proposal."""
        await self._begin()
        return self._manager.proposals.view(proposal_id)

    @ray.method
    async def proposal_page(
        self, wanted: dict[str, str | None], offset: int, limit: int
    ) -> dict[str, Any]:
        """Return one page of proposals, newest first."""
        await self._begin()
        return self._manager.proposals.page(wanted, offset=offset, limit=limit)

    @ray.method
    async def proposal_stats(self) -> dict[str, Any]:
        """Return counts of proposals."""
        await self._begin()
        return self._manager.proposals.stats()
