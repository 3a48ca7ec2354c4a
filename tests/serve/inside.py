"""The whole application in this process: guard, routes, the actor's methods, a real manager.

Only Ray is left out: a method's `remote` calls it here.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import uvicorn
from starlette.types import ASGIApp

from cluster.devices import DeviceBoard
from cluster.manager import Manager
from cluster.manager_actor import ManagerActor
from cluster.placement import Node
from governance.account_reader import FILE, AccountReader
from serve import app
from serve.context import Context
from serve.guard import LOOPBACK_HOSTS, Access, Guard
from serve.readiness import Readiness
from tests.cluster.here import Here, managed
from tests.cluster.small import Watch
from trainers.config import DeviceName

TOKEN = "a-token-for-tests"  # noqa: S105 - of no service
BASE = "http://127.0.0.1:8000"
MOST_BYTES = 4096


class Board(DeviceBoard):
    """Devices whose probes take for ever."""

    async def _probe(self, node: Node, device: DeviceName) -> None:
        """Find nothing out."""


class Handle:
    """Calls the methods of the actor as Ray would, on an actor that lives here."""

    def __init__(self, manager: Manager, cluster: Here) -> None:
        self._actor = object.__new__(ManagerActor)
        self._actor._manager = manager
        self._actor._devices = Board(cluster)  # type: ignore[arg-type]  # it needs only `nodes`
        self._actor._begun = asyncio.get_running_loop().create_future()  # type: ignore[assignment]  # as good as a task
        self._actor._begun.set_result(None)  # type: ignore[union-attr]  # set the line before

    def __getattr__(self, name: str) -> "Method":
        return Method(getattr(self._actor, name))


class Method:
    """One method of the actor."""

    def __init__(self, call: Callable[..., Any]) -> None:
        self._call = call

    def remote(self, *arguments: Any) -> Any:
        """Return what is awaited for the answer, or gives pieces to await."""
        answer = self._call(*arguments)
        return _pieces(answer) if hasattr(answer, "__aiter__") else answer


async def _pieces(answer: AsyncIterator[Any]) -> AsyncIterator[Any]:
    async for piece in answer:
        yield _ready(piece)


async def _ready(piece: Any) -> Any:
    return piece


Test = Callable[[httpx.AsyncClient, Manager], Awaitable[None]]
"""A test with a client of an application, and the manager behind it."""


def against(home: Path, test: Test, *, cluster: Here | None = None, **settings: Any) -> None:
    """Run a test's coroutine with a client of an application of its own; it ends in two minutes."""

    async def go() -> None:
        async with (
            application(home, cluster or Here(cpus=0), **settings) as (behind, manager),
            client(behind) as asking,
        ):
            await asyncio.wait_for(test(asking, manager), 120)

    asyncio.run(go())


@asynccontextmanager
async def application(
    home: Path, cluster: Here, **settings: Any
) -> AsyncIterator[tuple[ASGIApp, Manager]]:
    """Run a manager and give the guarded application in front of it."""
    async with managed(home, cluster) as manager:
        context = Context(
            settings=manager.settings.model_copy(update=settings),
            manager=Handle(manager, cluster),  # type: ignore[arg-type]  # see its docstring
            readiness=Readiness(manager.settings, "c" * 40, app.routes()),
            accounts=reader(home),
        )
        yield guarded(app.create_app(context), accounts=context.accounts), manager
        await cluster.close()


def reader(home: Path) -> AccountReader:
    """Return what knows TOKEN as the owner's, and the accounts of a home."""
    return AccountReader(home / "keys" / FILE, owner_token=TOKEN, clock=Watch())


def guarded(
    behind: ASGIApp, *, max_body_bytes: int = MOST_BYTES, accounts: AccountReader | None = None
) -> Guard:
    """Return an application behind a guard that knows TOKEN."""
    access = Access(
        hosts=LOOPBACK_HOSTS,
        accounts=accounts or reader(Path("/nonexistent")),
        role_of=app.role_of(),
        max_body_bytes=max_body_bytes,
    )
    return Guard(behind, access)


def client(behind: ASGIApp, **headers: str) -> httpx.AsyncClient:
    """Return a client with the token, without any socket; defects are answers, as on a server."""
    return httpx.AsyncClient(
        transport=httpx.ASGITransport(behind, raise_app_exceptions=False),
        base_url=BASE,
        headers={"authorization": f"Bearer {TOKEN}", **headers},
    )


@asynccontextmanager
async def served(behind: ASGIApp) -> AsyncIterator[str]:
    """Serve an application on loopback and give its address."""
    config = uvicorn.Config(
        behind, port=0, ws="none", lifespan="off", log_level="critical", timeout_graceful_shutdown=1
    )
    server = uvicorn.Server(config)
    task = asyncio.create_task(server.serve())
    while not server.started:  # noqa: ASYNC110 - it has no event
        await asyncio.sleep(0.01)
    port = server.servers[0].sockets[0].getsockname()[1]
    try:
        yield f"http://127.0.0.1:{port}"
    finally:
        server.should_exit = True
        await task
