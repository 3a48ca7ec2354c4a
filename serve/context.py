"""What a route needs of the process around it: the manager, the settings, the hub of streams."""

from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Annotated, Any, cast

from fastapi import Depends, Request

from cluster.asking import answer
from cluster.settings import Settings
from governance.account_reader import AccountReader
from governance.accounts import Caller
from serve.guard import SCOPE_KEY
from serve.readiness import Readiness
from serve.stream import Hub
from serve.verifying import Desk

if TYPE_CHECKING:
    from ray.actor import ActorProxy

    from cluster.manager_actor import ManagerActor


@dataclass(frozen=True)
class Context:
    """Passed to `create_app`; routes take it by `Depends`."""

    settings: Settings
    manager: "ActorProxy[ManagerActor]"
    readiness: Readiness
    accounts: AccountReader
    hub: Hub = field(default_factory=Hub)

    @cached_property
    def desk(self) -> Desk:
        """Where this replica verifies packs."""
        return Desk(self.settings.cache)

    async def zip_of(self, run_id: str) -> AsyncIterator[bytes]:
        """Yield the zip of a run's pack, in pieces.

        Raises:
            ServiceError: What the manager raised.
        """
        pieces: Any = self.manager.evidence_zip.remote(run_id)  # Ray types it as one reference
        async for reference in pieces:
            yield await answer(reference)


def of_request(request: Request) -> Context:
    """Return the context that the application was made with."""
    return cast("Context", request.app.state.context)


InContext = Annotated[Context, Depends(of_request)]


def caller_of(request: Request) -> Caller:
    """Return who asks; the guard let them in."""
    caller = request.scope[SCOPE_KEY]
    assert isinstance(caller, Caller), "only open routes have none, and they do not ask"
    return caller


Asker = Annotated[Caller, Depends(caller_of)]
