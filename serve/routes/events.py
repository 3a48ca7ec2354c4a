"""The event streams, in a deployment of their own: an open stream holds no other request up."""

import contextlib
from collections.abc import AsyncIterator, Callable
from typing import Annotated, Any

from fastapi import APIRouter, Header, Query
from fastapi.responses import Response

from cluster import petals_actor
from cluster.asking import answer
from cluster.audit import STATUS
from cluster.petals_actor import ask
from cluster.proposal_desk import KIND
from evidence import canonical
from evidence.errors import InvalidInput, RateLimited
from serve.context import Context, InContext
from serve.stream import EventStream, Feed, Pace, frames_of

router = APIRouter(prefix="/api/events", tags=["events"])

RunIdQuery = Annotated[
    str | None,
    Query(pattern=r"^[0-9a-f]{12}$", description="A run; without it, status changes of all runs."),
]
AfterQuery = Annotated[
    int | None, Query(ge=0, le=2**53 - 1, description="Sequence number, exclusive.")
]

Choose = Callable[[dict[str, Any]], bool]

_PROPOSALS = "proposals"
"""Names the feed of proposals among those of runs, whose names are hex digits."""


@router.get(
    "/training",
    response_class=Response,
    responses={
        200: {"content": {"text/event-stream": {}}},
        204: {"description": "The run has ended and the reader has seen all of it."},
    },
)
async def stream_training_events(
    context: InContext,
    run_id: RunIdQuery = None,
    after: AfterQuery = None,
    last_event_id: Annotated[str | None, Header(max_length=20)] = None,
) -> Response:
    """Send events as they happen, each with its sequence number as id, from `after` on."""
    cursor = cursor_of(after, last_event_id)
    require_room(context)
    state = None
    if run_id is None:
        last_seq = await answer(context.manager.audit_seq.remote())
    else:
        view = await answer(context.manager.view.remote(run_id))
        state, last_seq = view["status"], view["last_seq"]
        if view["sealed"] and cursor >= last_seq:
            return Response(status_code=204)
    pace = pace_of(context)
    choose = _is_status if run_id is None else None
    make = lambda: _feed(context, run_id, state, last_seq, choose=choose)  # noqa: E731
    return EventStream(lambda: _frames(context, run_id, make, cursor, pace), pace)


@router.get(
    "/proposals",
    response_class=Response,
    responses={200: {"content": {"text/event-stream": {}}}},
)
async def stream_proposal_events(
    context: InContext,
    after: AfterQuery = None,
    last_event_id: Annotated[str | None, Header(max_length=20)] = None,
) -> Response:
    """Send an event `proposal` for each submission and each vote, from `after` on; it never ends.

    Ids are sequence numbers of the audit journal.
    """
    cursor = cursor_of(after, last_event_id)
    require_room(context)
    last_seq = await answer(context.manager.audit_seq.remote())
    pace = pace_of(context)
    make = lambda: _feed(context, None, None, last_seq, choose=_is_proposal)  # noqa: E731
    return EventStream(lambda: _frames(context, _PROPOSALS, make, cursor, pace), pace)


@router.get(
    "/petals",
    response_class=Response,
    responses={200: {"content": {"text/event-stream": {}}}},
)
async def stream_petals_events(
    context: InContext,
    after: AfterQuery = None,
    last_event_id: Annotated[str | None, Header(max_length=20)] = None,
) -> Response:
    """Send what happens at the Petals bridge: peers and what was measured, fallbacks, refusals.

    The newest 2,000 events are kept in memory: a reader gets those above its id that are left.
    """
    cursor = cursor_of(after, last_event_id)
    require_room(context)
    bridge = petals_actor.start_or_find(context.settings)
    last_seq = await ask(bridge.last_event.remote())

    async def read(after: int, limit: int, wait_s: float) -> list[bytes]:
        return await ask(bridge.events.remote(after, limit, wait_s))

    pace = pace_of(context)
    make = lambda: Feed(read, last_seq=last_seq)  # noqa: E731
    return EventStream(lambda: _frames(context, "petals", make, cursor, pace), pace)


def require_room(context: Context) -> None:
    """Make sure that another stream may be opened.

    Raises:
        RateLimited: As many are open as may be.
    """
    limit = context.settings.max_streams
    if context.hub.streams >= limit:
        raise RateLimited(f"{limit} streams are open, the limit max_streams", field="max_streams")


def pace_of(context: Context) -> Pace:
    """Return how long and how much a stream may send."""
    settings = context.settings
    return Pace(settings.heartbeat_s, settings.send_timeout_s, settings.max_stream_bytes)


@contextlib.asynccontextmanager
async def _frames(
    context: Context, run_id: str | None, make: Callable[[], Feed], cursor: int, pace: Pace
) -> AsyncIterator[AsyncIterator[bytes]]:
    async with context.hub.reading(run_id, make) as feed:
        yield frames_of(feed, cursor, pace)


def _feed(
    context: Context, run_id: str | None, state: str | None, last_seq: int, *, choose: Choose | None
) -> Feed:
    async def read(after: int, limit: int, wait_s: float) -> list[bytes]:
        lines = await answer(context.manager.events.remote(run_id, after, limit, wait_s))
        return lines if run_id is not None else list(map(_without_origin, lines))

    return Feed(read, choose=choose, state=state, last_seq=last_seq)


def _without_origin(line: bytes) -> bytes:
    """Return a line of the audit journal without the address of who asked: streams are for all."""
    record = canonical.decode_object(line)
    return canonical.encode({k: v for k, v in record.items() if k not in {"origin", "key"}})


def _is_proposal(record: dict[str, Any]) -> bool:
    return record.get("kind") == KIND


def _is_status(record: dict[str, Any]) -> bool:
    return bool(record["action"] == STATUS)


def cursor_of(after: int | None, last_event_id: str | None) -> int:
    """Return where to go on: Last-Event-ID, which a client sends by itself, before `after`."""
    if not last_event_id:
        return after or 0
    if not last_event_id.isdecimal():
        raise InvalidInput(
            f"Last-Event-ID: expected a sequence number, found {last_event_id!r}",
            field="Last-Event-ID",
            expected="a sequence number",
            found=last_event_id,
        )
    return int(last_event_id)
