"""The Petals bridge: status, peers, allowlist, join, host, leave, cache, and text as a stream."""

import contextlib
import time
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING, Annotated, Any

from fastapi import APIRouter, Depends, Header, Path
from fastapi.responses import Response

from cluster import petals_actor
from cluster.asking import answer
from cluster.petals_actor import ask
from evidence import canonical
from evidence.errors import of_code
from serve import schemas
from serve.context import Asker, Context, InContext
from serve.routes.events import cursor_of, pace_of, require_room
from serve.stream import EventStream, Feed, frames_of

if TYPE_CHECKING:
    from ray.actor import ActorProxy

    from cluster.petals_actor import PetalsActor

_BEGIN_S = 60.0

GenerationId = Annotated[str, Path(pattern=r"^[0-9a-f]{16}$", description="16 hex digits.")]
LastEventId = Annotated[str | None, Header(max_length=20)]
STREAM: dict[int | str, dict[str, Any]] = {
    200: {"content": {"text/event-stream": {}}},
    204: {"description": "The generation has ended and the reader has seen all of it."},
}


def of_context(context: InContext) -> "ActorProxy[PetalsActor]":
    """Return the bridge, started if it is not there.

    Raises:
        NotInstalled: Its environment is not there.
    """
    return petals_actor.start_or_find(context.settings)


Bridge = Annotated[Any, Depends(of_context)]

router = APIRouter(prefix="/api/petals", tags=["petals"], dependencies=[Depends(of_context)])


@router.get("/status")
async def get_status(bridge: Bridge) -> schemas.PetalsStatus:
    """Return mode, identity, swarm, model, blocks, cache, and where it would compute now."""
    return schemas.PetalsStatus.model_validate(await ask(bridge.status.remote()))


@router.get("/peers")
async def list_peers(bridge: Bridge) -> schemas.PetalsPeers:
    """Return every peer that is listed or announces blocks, with what was measured of it."""
    return schemas.PetalsPeers(peers=await ask(bridge.peers.remote()))


@router.get("/metrics")
async def get_petals_metrics(bridge: Bridge) -> schemas.PetalsMetrics:
    """Return counters and measured bytes, by peer and direction."""
    return schemas.PetalsMetrics(metrics=await ask(bridge.metrics.remote()))


@router.post("/join")
async def join(bridge: Bridge, wanted: schemas.PetalsJoin) -> schemas.PetalsStatus:
    """Join the swarm of ZEROPOINT_PETALS_PEERS as a client, for one model."""
    return schemas.PetalsStatus.model_validate(await ask(bridge.join.remote(wanted.model)))


@router.post("/host")
async def host(bridge: Bridge, wanted: schemas.PetalsHost) -> schemas.PetalsStatus:
    """Serve blocks `begin` to `end` of a model to listed peers."""
    status = await ask(bridge.host.remote(wanted.model, wanted.begin, wanted.end))
    return schemas.PetalsStatus.model_validate(status)


@router.post("/leave")
async def leave(bridge: Bridge) -> schemas.PetalsStatus:
    """Leave the swarm and stop serving; what generates is stopped and can be taken up again."""
    return schemas.PetalsStatus.model_validate(await ask(bridge.leave.remote()))


@router.get("/allowlist")
async def get_allowlist(context: InContext) -> schemas.PetalsList:
    """Return the list in force."""
    view = await answer(context.manager.petals_allowlist.remote())
    return schemas.PetalsList.model_validate(view)


@router.put("/allowlist")
async def put_allowlist(
    context: InContext, asker: Asker, change: schemas.PetalsListChange
) -> schemas.PetalsList:
    """Replace the list that has `counter`; the new one is signed, logged, and in force at once."""
    entries = [entry.model_dump(exclude_none=True) for entry in change.peers]
    view = await answer(context.manager.petals_set_allowlist.remote(change.counter, entries, asker))
    return schemas.PetalsList.model_validate(view)


@router.post("/cache")
async def warm_cache(bridge: Bridge, wanted: schemas.PetalsWarm) -> schemas.PetalsCache:
    """Put blocks of a model into the local cache, so that it is there when peers are not."""
    return schemas.PetalsCache(cache=await ask(bridge.warm.remote(wanted.model, wanted.blocks)))


@router.post("/generate", response_class=Response, responses=STREAM)
async def generate(context: InContext, bridge: Bridge, wanted: schemas.PetalsGenerate) -> Response:
    """Continue a text; events `generation` (with `generation_id`), `route`, `token`, ..., `end`."""
    request = wanted.model_dump(mode="json")
    generation_id = await ask(bridge.generate.remote(request, None))
    await require_begun(bridge, generation_id)
    return stream_of(context, bridge, generation_id, after=0)


@router.get("/generate/{generation_id}", response_class=Response, responses=STREAM)
async def continue_generation(
    context: InContext,
    bridge: Bridge,
    generation_id: GenerationId,
    last_event_id: LastEventId = None,
) -> Response:
    """Go on with the events of a generation, after a lost stream or a restart."""
    after = cursor_of(None, last_event_id)
    last_seq, has_ended = await ask(bridge.generation.remote(generation_id))
    if has_ended and after >= last_seq:
        return Response(status_code=204)
    return stream_of(context, bridge, generation_id, after=after)


async def require_begun(bridge: Any, generation_id: str) -> None:
    """Return when a generation has its first token, or has taken `_BEGIN_S` without one.

    What fails before the first token is an answer of its own; what fails after it, an event.

    Raises:
        ServiceError: It failed before its first token.
    """
    deadline = time.monotonic() + _BEGIN_S
    after = 0
    while time.monotonic() < deadline:
        for line in await ask(bridge.generation_lines.remote(generation_id, after, 100, 1.0)):
            record = canonical.decode_object(line)
            after = int(record["seq"])
            if record["kind"] in {"token", "end"}:
                return
            if record["kind"] == "error":
                error = of_code(record["code"], record["detail"])
                for member in ("field", "expected", "found", "cure"):
                    setattr(error, member, record[member])
                raise error


def stream_of(context: Context, bridge: Any, generation_id: str, *, after: int) -> Response:
    """Return the events of a generation from a sequence number on.

    Raises:
        RateLimited: As many streams are open as may be.
    """

    async def read(cursor: int, limit: int, wait_s: float) -> list[bytes]:
        lines: list[bytes] = await ask(
            bridge.generation_lines.remote(generation_id, cursor, limit, wait_s)
        )
        return lines

    return event_stream(context, f"petals:{generation_id}", lambda: Feed(read), after=after)


def event_stream(context: Context, name: str, make: Any, *, after: int) -> Response:
    """Return a stream that shares its feed with other readers of the same name.

    Raises:
        RateLimited: As many streams are open as may be.
    """
    require_room(context)
    pace = pace_of(context)

    @contextlib.asynccontextmanager
    async def frames() -> AsyncIterator[AsyncIterator[bytes]]:
        async with context.hub.reading(name, make) as feed:
            yield frames_of(feed, after, pace)

    return EventStream(frames, pace)
