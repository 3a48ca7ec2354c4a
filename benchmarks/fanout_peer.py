"""The server of `fanout` with sse-starlette: `python -m benchmarks.fanout_peer JOURNAL PORT`.

Runs in the peers' environment. One task reads the journal and puts a dict per event into a queue
for each client; EventSourceResponse takes it from there, as its documentation shows.
"""

import asyncio
import contextlib
import json
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import uvicorn
from sse_starlette import EventSourceResponse  # type: ignore[import-not-found,unused-ignore]  # peer
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from benchmarks.journal_tail import JournalTail
from benchmarks.streams import raise_file_limit

_PAGE = 500
_POLL_S = 20.0

Event = dict[str, Any]


async def _distribute(tail: JournalTail, queues: "set[asyncio.Queue[Event]]") -> None:
    after = 0
    while True:
        lines = await tail.read(after, _PAGE, _POLL_S)
        for line in lines:
            record = json.loads(line)
            event = {"id": str(record["seq"]), "event": record["kind"], "data": line.decode()}
            for queue in queues:
                queue.put_nowait(event)
        after += len(lines)


def main() -> None:
    """Serve /events until killed."""
    raise_file_limit()
    tail = JournalTail(Path(sys.argv[1]))
    queues: set[asyncio.Queue[Event]] = set()

    @contextlib.asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
        task = asyncio.create_task(_distribute(tail, queues))
        yield
        task.cancel()

    async def events(_: Request) -> Response:
        queue: asyncio.Queue[Event] = asyncio.Queue()
        queues.add(queue)

        async def generate() -> AsyncIterator[Event]:
            try:
                while True:
                    yield await queue.get()
            finally:
                queues.discard(queue)

        response: Response = EventSourceResponse(generate())
        return response

    app = Starlette(routes=[Route("/events", events)], lifespan=lifespan)
    uvicorn.run(app, port=int(sys.argv[2]), log_level="warning", access_log=False, backlog=4096)


if __name__ == "__main__":
    main()
