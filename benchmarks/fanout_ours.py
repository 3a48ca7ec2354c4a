"""The server of `fanout` with our stream code: `python -m benchmarks.fanout_ours JOURNAL PORT`."""

import contextlib
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from benchmarks.journal_tail import JournalTail
from benchmarks.streams import raise_file_limit
from serve.stream import EventStream, Feed, Hub, Pace, frames_of

_PACE = Pace(heartbeat_s=10.0, send_timeout_s=20.0, max_bytes=1 << 30)


def main() -> None:
    """Serve /events until killed."""
    raise_file_limit()
    tail = JournalTail(Path(sys.argv[1]))
    hub = Hub()

    @contextlib.asynccontextmanager
    async def frames() -> AsyncIterator[AsyncIterator[bytes]]:
        async with hub.reading("run", lambda: Feed(tail.read)) as feed:
            yield frames_of(feed, 0, _PACE)

    async def events(_: Request) -> Response:
        return EventStream(frames, _PACE)

    app = Starlette(routes=[Route("/events", events)])
    uvicorn.run(app, port=int(sys.argv[2]), log_level="warning", access_log=False, backlog=4096)


if __name__ == "__main__":
    main()
