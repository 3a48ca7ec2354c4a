"""What a route needs of the process around it: the manager, the settings, the hub of streams."""

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Annotated, cast

from fastapi import Depends, Request

from cluster.settings import Settings
from serve.readiness import Readiness
from serve.stream import Hub

if TYPE_CHECKING:
    from ray.actor import ActorProxy

    from cluster.manager_actor import ManagerActor


@dataclass(frozen=True, slots=True)
class Context:
    """Passed to `create_app`; routes take it by `Depends`."""

    settings: Settings
    manager: "ActorProxy[ManagerActor]"
    readiness: Readiness
    hub: Hub = field(default_factory=Hub)


def of_request(request: Request) -> Context:
    """Return the context that the application was made with."""
    return cast("Context", request.app.state.context)


InContext = Annotated[Context, Depends(of_request)]

WHO = "api"
"""Who the service journal names for a request that carried the service's token."""
