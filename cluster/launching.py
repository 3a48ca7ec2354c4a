"""What the manager asks of a cluster, and what passes between them: tickets out, outcomes back."""

import importlib.util
from collections.abc import Awaitable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from cluster.placement import Node, Place
from evidence.errors import NotInstalled
from evidence.records import Fault


@dataclass(frozen=True, slots=True)
class Ticket:
    """All that a trainer needs to know for one attempt."""

    run_id: str
    attempt: int
    config: Mapping[str, Any]
    """The resolved RunConfig, as JSON."""
    place: Place
    start: Mapping[str, bytes]
    """Files of the checkpoint to start from; empty for a fresh start."""


@dataclass(frozen=True, slots=True)
class Lost:
    """A trainer died without a word."""

    reason: str


Outcome = Fault | Lost | None
"""How an attempt ended: with an error, with a death, or well."""


class Launcher(Protocol):
    """The cluster, as the manager sees it."""

    async def nodes(self) -> Sequence[Node]:
        """Return the nodes that are alive."""
        ...

    async def start(self, ticket: Ticket) -> None:
        """Start a trainer; returns when it is on its way."""
        ...

    def outcome(self, run_id: str, attempt: int) -> Awaitable[Outcome]:
        """Wait until the trainer of an attempt has ended; Lost at once if there is none."""
        ...

    async def kill(self, run_id: str, attempt: int) -> None:
        """End a trainer now and free what it holds."""
        ...


def require_ray_train() -> None:
    """Raise unless runs of several workers can be started here.

    Raises:
        NotInstalled: The extra `workers` is absent.
    """
    if importlib.util.find_spec("pyarrow") is None:
        raise NotInstalled(
            "workers: more than 1 needs Ray Train, which is not installed",
            field="workers",
            cure="pip install 'zeropoint[workers]'",
        )
