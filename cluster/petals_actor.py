"""The Ray shell of the Petals bridge: a detached actor in the environment that Petals lives in.

It decides nothing: `petals_bridge.bridge` does. Its own duties are what Ray needs: to die with all
its children when it is killed, to come back and take up what was wanted, and to carry events and
records to whoever asks.
"""

import asyncio
import os
import queue
import threading
import time
from collections import deque
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

import ray
from ray.exceptions import RayActorError

from cluster.asking import answer
from cluster.directory import HEAD_NODE, NAMESPACE, PETALS, find_manager
from cluster.pulse import Pulse
from cluster.settings import Settings, as_environment, from_environment
from evidence import canonical
from evidence.clock import timestamp, utc_now
from evidence.errors import ServiceError, TooLarge, Unavailable
from petals_bridge import models, versions
from petals_bridge.bandwidth import Allowance
from petals_bridge.die_together import die_together
from petals_bridge.generations import GenerationRequest
from petals_bridge.wanted import FOLDER, WantedFile

if TYPE_CHECKING:
    from ray.actor import ActorProxy

    from petals_bridge.bridge import Bridge

T = TypeVar("T")

_MOST_CALLS = 10_000
_MOST_EVENTS = 2_000
_MOST_REPORTS = 10_000
_RETRY_S = 1.0
_ASK_S = 30.0


class PetalsActor:
    """The bridge as an actor; see `petals_bridge.bridge.Bridge` for what the methods do."""

    _bridge: "Bridge"

    def __init__(self) -> None:
        die_together()  # Ray does not see a death while children hold its sockets
        self._settings = from_environment(os.environ)
        self._begun: asyncio.Task[None] | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._pulses: dict[str, Pulse] = {}
        self._events: deque[tuple[int, bytes]] = deque(maxlen=_MOST_EVENTS)
        # Ids go on growing over a restart, whose events before it are gone.
        self._seq = time.time_ns() // 1_000_000
        self._reporter = Reporter()
        ray.get_runtime_context().current_actor.begin.remote()

    @ray.method
    async def begin(self) -> None:
        """Take up what was wanted; every other call waits for it."""
        await self._begin()

    async def _begin(self) -> None:
        if self._begun is None or (self._begun.done() and self._begun.exception()):
            self._loop = asyncio.get_running_loop()
            self._begun = asyncio.create_task(self._open())
        await asyncio.shield(self._begun)

    async def _open(self) -> None:
        self._bridge = await asyncio.to_thread(self._make)
        await asyncio.to_thread(self._bridge.resume)

    def _make(self) -> "Bridge":
        # They exist in this actor's environment alone.
        from petals_bridge.bridge import Bridge  # noqa: PLC0415
        from petals_bridge.parts import BridgeConfig, Tells  # noqa: PLC0415

        settings = self._settings
        further = (settings.petals_models,) if settings.petals_models else ()
        config = BridgeConfig(
            home=settings.home / FOLDER,
            keys=settings.home / "keys",
            cache=settings.cache / FOLDER,
            cache_bytes=settings.petals_cache_bytes,
            peers=tuple(filter(None, settings.petals_peers.split(","))),
            models=(models.BUILT_IN, *further),
            search_path=settings.search_path,
            listen=settings.petals_listen,
            announce=settings.petals_announce or None,
            name=settings.petals_name,
            allowance=Allowance(
                peer_bytes_per_s=settings.petals_peer_bytes_per_s,
                total_bytes_per_s=settings.petals_total_bytes_per_s,
                peer_sessions=settings.petals_peer_sessions,
                total_sessions=settings.petals_total_sessions,
            ),
            max_generations=settings.petals_max_generations,
            spot_check_rate=settings.petals_spot_check_rate,
            step_timeout_s=settings.petals_step_timeout_s,
        )
        tells = Tells(report=self._reporter, show=self._show, changed=self._fire, expel=_expel)
        return Bridge(config, tells)

    # -- events ----------------------------------------------------------------------------------

    def _show(self, kind: str, body: dict[str, Any]) -> None:
        """Keep an event for whoever watches; called from any thread."""
        assert self._loop is not None
        self._loop.call_soon_threadsafe(self._keep, kind, body)

    def _keep(self, kind: str, body: dict[str, Any]) -> None:
        self._seq += 1
        record = {"seq": self._seq, "kind": kind, "timestamp": timestamp(utc_now()), **body}
        self._events.append((self._seq, canonical.encode(record)))
        self._pulse("").fire()

    def _fire(self, generation_id: str) -> None:
        assert self._loop is not None
        self._loop.call_soon_threadsafe(lambda: self._pulse(generation_id).fire())

    def _pulse(self, name: str) -> Pulse:
        if name not in self._pulses:
            if len(self._pulses) > _MOST_EVENTS:
                self._pulses.clear()  # who waits on one asks again after its time
            self._pulses[name] = Pulse()
        return self._pulses[name]

    @ray.method
    async def events(self, after: int, limit: int, wait_s: float) -> list[bytes]:
        """Return events after a sequence number; may wait for the first."""
        await self._begin()
        if not self._events or self._events[-1][0] <= after:
            await self._pulse("").wait(wait_s)
        return [line for seq, line in self._events if seq > after][:limit]

    @ray.method
    async def last_event(self) -> int:
        """Return the newest sequence number."""
        await self._begin()
        return self._seq

    # -- what is asked over HTTP -----------------------------------------------------------------

    async def _do(self, work: "Callable[[Bridge], Any]") -> Any:
        """Return what the bridge answers, asked in a thread of its own."""
        await self._begin()
        try:
            return await asyncio.to_thread(work, self._bridge)
        except ServiceError:
            raise
        except Exception as error:  # noqa: BLE001 - a foreign one would not unpickle on the other side
            raise ServiceError(f"a defect in the bridge: {error!r}"[:500]) from None

    @ray.method
    async def status(self) -> dict[str, Any]:
        """Return what the bridge does."""
        result: dict[str, Any] = await self._do(lambda bridge: bridge.status())
        return result

    @ray.method
    async def peers(self) -> list[dict[str, Any]]:
        """Return every peer that is listed or announces blocks."""
        await self._begin()
        from petals_bridge import views  # noqa: PLC0415

        result: list[dict[str, Any]] = await self._do(lambda bridge: views.peers(bridge.parts))
        return result

    @ray.method
    async def metrics(self) -> dict[str, Any]:
        """Return counters and measured bytes."""
        result: dict[str, Any] = await self._do(lambda bridge: bridge.metrics())
        return result

    @ray.method
    async def join(self, model: str) -> dict[str, Any]:
        """Join the swarm for a model."""
        result: dict[str, Any] = await self._do(lambda bridge: bridge.join(model))
        return result

    @ray.method
    async def host(self, model: str, begin: int, end: int) -> dict[str, Any]:
        """Serve blocks of a model."""
        result: dict[str, Any] = await self._do(lambda bridge: bridge.host(model, begin, end))
        return result

    @ray.method
    async def leave(self) -> dict[str, Any]:
        """Leave the swarm and stop serving."""
        result: dict[str, Any] = await self._do(lambda bridge: bridge.leave())
        return result

    @ray.method
    async def warm(self, model: str, blocks: Sequence[int] | None) -> dict[str, Any]:
        """Put blocks into the cache."""
        result: dict[str, Any] = await self._do(lambda bridge: bridge.warm(model, blocks))
        return result

    @ray.method
    async def generate(self, request: Mapping[str, Any], model: str | None) -> str:
        """Start a generation; return its id."""
        wanted = GenerationRequest.model_validate(dict(request))
        result: str = await self._do(lambda bridge: bridge.answers.begin(wanted, model=model))
        return result

    @ray.method
    async def generation(self, generation_id: str) -> tuple[int, bool]:
        """Return the newest sequence number of a generation, and whether it has ended."""
        log = await self._do(lambda bridge: bridge.answers.find(generation_id))
        return len(log.lines), log.has_ended

    @ray.method
    async def generation_lines(
        self, generation_id: str, after: int, limit: int, wait_s: float
    ) -> list[bytes]:
        """Return journal lines of a generation after a sequence number; may wait for the first."""
        log = await self._do(lambda bridge: bridge.answers.find(generation_id))
        if len(log.lines) <= after and not log.has_ended:
            await self._pulse(generation_id).wait(wait_s)
            log = await self._do(lambda bridge: bridge.answers.find(generation_id))
        lines: list[bytes] = log.lines[max(after, 0) : max(after, 0) + limit]
        return lines


class Reporter:
    """Carries records to the manager, in order, through its restarts."""

    def __init__(self) -> None:
        self._waiting: queue.Queue[tuple[str, dict[str, Any]]] = queue.Queue(_MOST_REPORTS)
        threading.Thread(target=self._carry_for_ever, daemon=True).start()

    def __call__(self, action: str, details: dict[str, Any]) -> None:
        """Take one record.

        Raises:
            TooLarge: The manager has been away for so long that no more are kept.
        """
        try:
            self._waiting.put_nowait((action, details))
        except queue.Full:
            raise TooLarge(f"{_MOST_REPORTS} records wait for the manager") from None

    def _carry_for_ever(self) -> None:
        while True:
            action, details = self._waiting.get()
            while not self._is_carried(action, details):
                time.sleep(_RETRY_S)

    def _is_carried(self, action: str, details: dict[str, Any]) -> bool:
        try:
            ray.get(find_manager().petals_record.remote(action, details), timeout=_ASK_S)
        except (RayActorError, ValueError, ray.exceptions.GetTimeoutError, ServiceError):
            return False
        return True


def _expel(peer_id: str, why: str) -> int | None:
    """Have the manager take a peer off the list."""
    try:
        counter: int | None = ray.get(
            find_manager().petals_expel.remote(peer_id, why), timeout=_ASK_S
        )
    except (ray.exceptions.RayError, ValueError, ServiceError):
        return None
    return counter


_Remote = ray.remote(PetalsActor)


def start_or_find(settings: Settings) -> "ActorProxy[PetalsActor]":
    """Return the bridge's actor, started on the head node if it is not there.

    Raises:
        NotInstalled: The environment of Petals is not there, or this Python is another one.
        Unavailable: This process is in no cluster; Ray would start or join one by itself.
    """
    versions.require(settings.petals_python)
    if not ray.is_initialized():
        raise Unavailable("this process is in no Ray cluster, where the Petals bridge would be")
    environment = {
        **as_environment(settings),
        "OMP_NUM_THREADS": "1",
        "HF_HUB_OFFLINE": "1",
        "TRANSFORMERS_OFFLINE": "1",
        "PYTHONWARNINGS": "ignore::FutureWarning",
    }
    return _Remote.options(
        name=PETALS,
        namespace=NAMESPACE,
        lifetime="detached",
        get_if_exists=True,
        num_cpus=0,
        resources={HEAD_NODE: 0.001},
        max_restarts=-1,
        max_task_retries=0,
        max_concurrency=_MOST_CALLS,
        runtime_env={"py_executable": str(settings.petals_python), "env_vars": environment},
    ).remote()


async def ask(reference: Awaitable[T]) -> T:
    """Return what the bridge answers.

    Raises:
        ServiceError: What it raised.
        Unavailable: It is being restarted.
    """
    return await answer(reference, who="the Petals bridge")


def resume_if_wanted(settings: Settings) -> bool:
    """Start the bridge if it was joined or hosting when the service stopped; return whether."""
    if not WantedFile(settings.home / FOLDER / "wanted.json").read().is_anything:
        return False
    start_or_find(settings)
    return True
