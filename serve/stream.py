"""Event streams: one long-poll per replica and run, fan-out inside the replica, encoded once.

A client holds a cursor (a sequence number), never a queue: what it has not read yet is in the ring
or in the journal. A stream ends by itself after `max_stream_bytes`, or when a reader takes no byte
for `send_timeout_s`; it says `retry:`, and the client goes on with Last-Event-ID. That bounds what
proxies between here and a slow reader can pile up.
"""

import asyncio
import contextlib
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from typing import Any

import structlog
from starlette.responses import Response
from starlette.types import Message, Receive, Scope, Send

from cluster.pulse import Pulse
from evidence import canonical
from evidence.errors import Unavailable
from evidence.records import EventKind, RunState

log = structlog.get_logger()

_PAGE = 500
_RING = 2_000
_POLL_S = 20.0
_RETRY_MS = 1_000
_MANAGER_RETRY_S = 1.0
_ENDED_UNSEALED = frozenset({RunState.FAILED, RunState.INTERRUPTED})

ReadEvents = Callable[[int, int, float], Awaitable[list[bytes]]]
"""(after, limit, wait_s) -> journal lines."""


@dataclass(frozen=True, slots=True)
class Frame:
    """One event, encoded once for all clients."""

    seq: int
    data: bytes
    is_end: bool
    state: str | None
    """With a status event, the new state."""


def encode(line: bytes) -> Frame:
    """Return the SSE frame of a journal line: id is its seq, event its kind, data the line."""
    record = canonical.decode_object(line)
    kind = record.get("kind", EventKind.STATUS)
    data = b"id: %d\nevent: %s\ndata: %s\n\n" % (record["seq"], kind.encode(), line)
    state = record.get("state") if kind == EventKind.STATUS else None
    return Frame(record["seq"], data, kind == EventKind.END, state)


class Feed:
    """The newest events of one journal, shared by all clients of a replica.

    Args:
        read: Reads the journal.
        choose: Which lines are sent at all.
        state: State of the run when the feed was opened; None for the service journal.
        last_seq: Newest sequence number at that moment.
    """

    def __init__(
        self,
        read: ReadEvents,
        *,
        choose: Callable[[dict[str, Any]], bool] | None = None,
        state: str | None = None,
        last_seq: int = 0,
    ) -> None:
        self.readers = 0
        self.state = state
        self._last_seq = last_seq
        self._read = read
        self._choose = choose
        self._ring: deque[Frame] = deque(maxlen=_RING)
        self._ring_after = 0
        self._polled = 0
        self._pulse = Pulse()
        self._task: asyncio.Task[None] | None = None

    async def next(self, after: int, wait_s: float) -> tuple[list[Frame], int]:
        """Return frames above `after` and the new cursor; none after `wait_s` of silence.

        Where the shared poll begins is the journal's business, not a reader's: a reader that names
        a number that is yet to come waits for it alone.

        Raises:
            ServiceError: What reading the journal raised, e.g. NotFound after a deletion.
        """
        if self._task is not None and self._task.done():
            self._task.result()  # what ended the poll ends its readers
        if self._task is None:
            self._ring_after = self._polled = min(after, self._last_seq)
            self._task = asyncio.create_task(self._poll())
            self._task.add_done_callback(lambda _: self._pulse.fire())
        if after >= self._polled:
            await self._pulse.wait(wait_s)
        if after < self._ring_after:
            return await self._catch_up(after, wait_s)
        frames = [frame for frame in self._ring if frame.seq > after]
        return frames, max(after, self._polled)

    def is_caught_up(self, after: int) -> bool:
        """Return whether a reader at `after` has seen all that there is."""
        return after >= max(self._polled, self._last_seq)

    def close(self) -> None:
        """Stop polling."""
        if self._task is not None:
            self._task.cancel()

    async def _catch_up(self, after: int, wait_s: float) -> tuple[list[Frame], int]:
        lines = await self._read(after, _PAGE, 0)
        if not lines:  # an end that is not shown before its seal
            await self._pulse.wait(wait_s)
            return [], after
        frames, last = self._encode(lines)
        return frames, last

    def _encode(self, lines: list[bytes]) -> tuple[list[Frame], int]:
        choose = self._choose
        frames = [
            encode(line)
            for line in lines
            if choose is None or choose(canonical.decode_object(line))
        ]
        return frames, int(canonical.decode_object(lines[-1])["seq"])

    async def _poll(self) -> None:
        """Follow the journal, through restarts of the manager, while there are readers."""
        while True:
            try:
                lines = await self._read(self._polled, _PAGE, _POLL_S)
            except Unavailable:
                await asyncio.sleep(_MANAGER_RETRY_S)
                continue
            if not lines:
                continue
            frames, last = self._encode(lines)
            for frame in frames:
                if len(self._ring) == _RING:
                    self._ring_after = self._ring[0].seq
                self._ring.append(frame)
                if frame.seq > self._last_seq:  # older ones tell what the state once was
                    self.state = frame.state or self.state
            self._polled = last
            self._pulse.fire()


class Hub:
    """All feeds of a replica."""

    def __init__(self) -> None:
        self._feeds: dict[str | None, Feed] = {}
        self.streams = 0

    @contextlib.asynccontextmanager
    async def reading(self, run_id: str | None, make: Callable[[], Feed]) -> AsyncIterator[Feed]:
        """Give the feed of a run to one more reader; the last one closes it."""
        feed = self._feeds.setdefault(run_id, make()) if run_id not in self._feeds else None
        feed = feed or self._feeds[run_id]
        feed.readers += 1
        self.streams += 1
        try:
            yield feed
        finally:
            self.streams -= 1
            feed.readers -= 1
            if feed.readers == 0:
                self._feeds.pop(run_id, None)
                feed.close()


@dataclass(frozen=True, slots=True)
class Pace:
    """How long and how much a stream may send."""

    heartbeat_s: float
    send_timeout_s: float
    max_bytes: int


async def frames_of(feed: Feed, after: int, pace: Pace) -> AsyncIterator[bytes]:
    """Yield what one client is sent, coalesced, until the run or the stream's allowance ends."""
    yield b"retry: %d\n" % _RETRY_MS  # no blank line: that would be an event without data
    sent = 0
    while not (feed.is_caught_up(after) and feed.state in _ENDED_UNSEALED):
        frames, after = await feed.next(after, pace.heartbeat_s)
        data = b"".join(frame.data for frame in frames) or b": alive\n"
        sent += len(data)
        yield data
        if frames and frames[-1].is_end:
            return
        if sent > pace.max_bytes:
            yield b"retry: 0\n: allowance of this stream used, resume with Last-Event-ID\n"
            return
    yield _end_frame(feed.state)


def _end_frame(state: str | None) -> bytes:
    """Return the end of a run that may be resumed: without id, for it is not in the journal."""
    data = canonical.encode({"kind": EventKind.END, "state": state, "sealed": False})
    return b"event: end\ndata: %s\n\n" % data


class EventStream(Response):
    """An SSE response that notices a client which went away or stopped reading.

    Args:
        open_frames: Opens the iterator of frames; entered when the response starts.
        pace: Limits of the stream.
    """

    def __init__(
        self,
        open_frames: Callable[[], contextlib.AbstractAsyncContextManager[AsyncIterator[bytes]]],
        pace: Pace,
    ) -> None:
        super().__init__(status_code=200, headers={"content-type": "text/event-stream"})
        del self.headers["content-length"]
        self._open_frames = open_frames
        self._pace = pace

    async def __call__(self, _: Scope, receive: Receive, send: Send) -> None:
        """Send frames until they end, the client goes away, or it reads too slowly."""
        sending = asyncio.create_task(self._send_frames(send))
        leaving = asyncio.create_task(_until_disconnect(receive))
        try:
            await asyncio.wait({sending, leaving}, return_when=asyncio.FIRST_COMPLETED)
            if sending.done():
                sending.result()
        finally:
            for task in (sending, leaving):
                task.cancel()
                with contextlib.suppress(asyncio.CancelledError, TimeoutError):
                    await task

    async def _send_frames(self, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": self.raw_headers})
        async with self._open_frames() as frames:
            async for data in frames:
                await self._send_in_time(send, data)
        await send({"type": "http.response.body", "body": b"", "more_body": False})

    async def _send_in_time(self, send: Send, data: bytes) -> None:
        message: Message = {"type": "http.response.body", "body": data, "more_body": True}
        async with asyncio.timeout(self._pace.send_timeout_s):
            await send(message)


async def _until_disconnect(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
