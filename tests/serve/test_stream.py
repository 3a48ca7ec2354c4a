"""Event streams: what one client gets, whatever happens between the journal and its socket."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

import httpx
import httpx_sse
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from evidence import canonical
from evidence.errors import NotFound, ServiceError, Unavailable
from evidence.records import EventKind
from serve import stream
from serve.stream import EventStream, Feed, Hub, Pace, encode, frames_of

PACE = Pace(heartbeat_s=0.05, send_timeout_s=0.2, max_bytes=1 << 20)


def run(test: Callable[[], Awaitable[None]]) -> None:
    asyncio.run(asyncio.wait_for(test(), 30))


def line(seq: int, kind: str = "metric", **more: Any) -> bytes:
    return canonical.encode({"seq": seq, "kind": kind, **more})


def status(seq: int, state: str) -> bytes:
    return line(seq, "status", state=state)


def whole(count: int) -> list[bytes]:
    """Return the journal of a run that has ended."""
    return [*(line(seq) for seq in range(1, count)), line(count, "end", state="succeeded")]


@dataclass
class Source:
    """A journal in memory that answers like the manager, and counts its questions."""

    lines: list[bytes]
    waits_s: float = 0.02
    asked: list[tuple[int, int]] = field(default_factory=list)
    errors: list[ServiceError] = field(default_factory=list)

    async def read(self, after: int, limit: int, wait_s: float) -> list[bytes]:
        self.asked.append((after, limit))
        if self.errors:
            raise self.errors.pop()
        if len(self.lines) <= after and wait_s:
            await asyncio.sleep(min(wait_s, self.waits_s))
        return self.lines[after : after + limit]

    def feed(self, **options: Any) -> Feed:
        return Feed(self.read, **options)


def events_of(pieces: list[bytes]) -> list[httpx_sse.ServerSentEvent]:
    """Return what a client's parser makes of a stream."""
    headers = {"content-type": "text/event-stream"}
    response = httpx.Response(200, headers=headers, content=b"".join(pieces))
    return list(httpx_sse.EventSource(response).iter_sse())


def ids(pieces: list[bytes]) -> list[int]:
    return [int(event.id) for event in events_of(pieces) if event.event != "message"]


async def taken(feed: Feed, after: int = 0, *, pace: Pace = PACE) -> list[bytes]:
    """Return all that a client is sent until the stream ends."""
    pieces = [piece async for piece in frames_of(feed, after, pace)]
    feed.close()
    return pieces


async def some(feed: Feed, count: int, after: int = 0) -> list[bytes]:
    """Return the first pieces of a stream that may not end."""
    pieces: list[bytes] = []
    async with contextlib.aclosing(frames_of(feed, after, PACE)) as frames:  # type: ignore[type-var]  # it is a generator
        async for piece in frames:
            pieces.append(piece)
            if len(pieces) == count:
                break
    return pieces


# -- a frame -------------------------------------------------------------------------------------


def test_a_line_becomes_an_event_with_its_number_and_kind() -> None:
    event = events_of([encode(line(7, "checkpoint", step=100)).data])[0]
    assert (event.id, event.event) == ("7", "checkpoint")
    assert event.data.encode() == line(7, "checkpoint", step=100)


def test_a_line_of_the_service_journal_is_a_status() -> None:
    event = events_of([encode(canonical.encode({"seq": 3, "action": "run.status"})).data])[0]
    assert event.event == "status"


@settings(deadline=None)
@given(st.text())
def test_no_text_breaks_out_of_its_event(message: str) -> None:
    data = encode(line(1, "log", message=message)).data
    events = events_of([data])
    assert [canonical.decode_object(event.data.encode())["message"] for event in events] == [
        message
    ]


@pytest.mark.parametrize("kind", list(EventKind))
def test_only_an_end_is_an_end(kind: EventKind) -> None:
    assert encode(line(1, kind)).is_end == (kind == "end")


# -- one client ----------------------------------------------------------------------------------


@pytest.mark.parametrize("after", [0, 1, 600, 1199])
def test_a_client_gets_every_event_behind_its_number_once_and_in_order(after: int) -> None:
    async def test() -> None:
        pieces = await taken(Source(whole(1200)).feed(), after)
        assert ids(pieces) == list(range(after + 1, 1201))

    run(test)


def test_the_first_line_sets_the_time_before_a_reconnect() -> None:
    async def test() -> None:
        pieces = await taken(Source(whole(3)).feed())
        assert pieces[0] == b"retry: 1000\n"

    run(test)


def test_a_stream_ends_with_the_end_of_the_run() -> None:
    async def test() -> None:
        last = events_of(await taken(Source(whole(3)).feed()))[-1]
        assert (last.event, last.id) == ("end", "3")

    run(test)


@pytest.mark.parametrize("state", ["failed", "interrupted"])
@pytest.mark.parametrize("after", [0, 3])
def test_a_run_that_may_be_resumed_ends_the_stream_without_a_number(state: str, after: int) -> None:
    async def test() -> None:
        source = Source([status(1, "queued"), status(2, "running"), status(3, state)])
        pieces = await taken(source.feed(state=state, last_seq=3), after)
        assert pieces[-1].startswith(b"event: end\ndata: ")
        data = events_of(pieces)[-1].data.encode()
        assert canonical.decode_object(data) == {"kind": "end", "state": state, "sealed": False}

    run(test)


def test_a_long_failed_run_is_sent_whole_before_its_end() -> None:
    async def test() -> None:
        lines = [*(line(seq) for seq in range(1, 2600)), status(2600, "failed")]
        pieces = await taken(Source(lines).feed(state="failed", last_seq=2600))
        assert ids(pieces)[:-1] == list(range(1, 2601))

    run(test)


def test_a_run_that_fails_while_it_is_watched_ends_the_stream() -> None:
    async def test() -> None:
        source = Source([status(1, "queued"), status(2, "running")])
        reading = asyncio.create_task(taken(source.feed(state="running", last_seq=2)))
        await asyncio.sleep(0.05)
        source.lines.append(status(3, "failed"))
        assert events_of(await reading)[-1].event == "end"

    run(test)


def test_an_old_interruption_does_not_end_the_stream_of_a_run_that_goes_on() -> None:
    async def test() -> None:
        old = [*(line(seq) for seq in range(1, 500)), status(500, "interrupted")]
        lines = [*old, status(501, "queued"), status(502, "running"), line(503)]
        source = Source(lines)
        feed = source.feed(state="running", last_seq=503)
        await feed.next(0, 1)  # the first page ends with the interruption
        pieces = await some(feed, 3, after=503)
        feed.close()
        assert b"event: end" not in b"".join(pieces)

    run(test)


def test_silence_is_filled_with_comments_that_are_no_events() -> None:
    async def test() -> None:
        feed = Source([]).feed(state="running")
        pieces = await some(feed, 3)
        feed.close()
        assert pieces[1:] == [b": alive\n", b": alive\n"]
        assert events_of(pieces) == []

    run(test)


def test_a_number_from_the_future_waits_quietly() -> None:
    async def test() -> None:
        feed = Source(whole(3)[:2]).feed(state="running", last_seq=2)
        pieces = await some(feed, 2, after=99)
        feed.close()
        assert pieces[1] == b": alive\n"

    run(test)


@pytest.mark.parametrize("first", [301, 2**53 - 1])
def test_a_reader_with_a_number_from_the_future_takes_no_event_from_another(first: int) -> None:
    async def test() -> None:
        source = Source(whole(300)[:200])
        feed = source.feed(state="running", last_seq=200)
        early = asyncio.create_task(feed.next(first, 1))
        await asyncio.sleep(0.02)
        reading = asyncio.create_task(taken(feed, 0))
        await asyncio.sleep(0.05)
        source.lines += whole(300)[200:]
        assert ids(await reading) == list(range(1, 301))
        assert (await early)[0] == []

    run(test)


def test_an_end_that_comes_after_its_number_was_told_is_not_passed_over() -> None:
    async def test() -> None:
        source = Source(whole(50)[:48])  # the last two are not shown before the seal
        feed = source.feed(state="running", last_seq=50)
        early = asyncio.create_task(feed.next(50, 0.04))
        reading = asyncio.create_task(taken(feed, 0))
        assert await early == ([], 50)
        source.lines += whole(50)[48:]
        assert ids(await reading) == list(range(1, 51))

    run(test)


# -- an allowance --------------------------------------------------------------------------------


def test_a_used_up_allowance_asks_the_client_to_come_back_at_once() -> None:
    async def test() -> None:
        pace = Pace(0.05, 0.2, max_bytes=100)
        pieces = await taken(Source(whole(3000)).feed(), pace=pace)
        assert pieces[-1].startswith(b"retry: 0\n:")
        assert ids(pieces)[-1] < 3000

    run(test)


@settings(max_examples=20, deadline=None)
@given(count=st.integers(1, 4000), max_bytes=st.integers(100, 90_000), after=st.integers(0, 4000))
def test_no_event_is_lost_or_doubled_over_allowances(
    count: int, max_bytes: int, after: int
) -> None:
    async def test() -> None:
        source, pace = Source(whole(count)), Pace(0.05, 0.2, max_bytes)
        seen = [min(after, count - 1)]
        while seen[-1] < count:
            seen += ids(await taken(source.feed(), seen[-1], pace=pace))
        assert seen == list(range(seen[0], count + 1))

    run(test)


# -- many clients --------------------------------------------------------------------------------


def test_readers_of_a_feed_share_its_polls() -> None:
    async def test() -> None:
        source = Source(whole(50))
        feed = source.feed()
        streams = await asyncio.gather(*([some_of(feed) for _ in range(20)]))
        feed.close()
        assert all(ids(pieces) == list(range(1, 51)) for pieces in streams)
        assert len(source.asked) <= 2

    async def some_of(feed: Feed) -> list[bytes]:
        return [piece async for piece in frames_of(feed, 0, PACE)]

    run(test)


def test_a_reader_behind_the_ring_catches_up_from_the_journal() -> None:
    async def test() -> None:
        source = Source(whole(stream._RING + 1500))
        feed = source.feed()
        first = [piece async for piece in frames_of(feed, 0, PACE)]
        late = [piece async for piece in frames_of(feed, 0, PACE)]
        feed.close()
        assert ids(first) == ids(late) == list(range(1, stream._RING + 1501))

    run(test)


def test_a_reader_that_joins_with_an_older_number_misses_nothing() -> None:
    async def test() -> None:
        feed = Source(whole(300)).feed()
        await feed.next(250, 1)
        pieces = [piece async for piece in frames_of(feed, 10, PACE)]
        feed.close()
        assert ids(pieces) == list(range(11, 301))

    run(test)


def test_lines_that_are_not_chosen_leave_no_gap_and_no_busy_reader() -> None:
    async def test() -> None:
        lines = [
            canonical.encode({"seq": seq, "action": "a" if seq % 2 else "b"}) for seq in range(1, 7)
        ]
        source = Source(lines)
        feed = source.feed(choose=lambda record: record["action"] == "a")
        frames, after = await feed.next(0, 1)
        begun = asyncio.get_running_loop().time()
        silence, still = await feed.next(after, 0.05)
        waited = asyncio.get_running_loop().time() - begun
        feed.close()
        assert [frame.seq for frame in frames] == [1, 3, 5]
        assert (silence, after, still) == ([], 6, 6)
        assert waited >= 0.04

    run(test)


def test_the_last_reader_of_a_feed_ends_its_poll() -> None:
    async def test() -> None:
        hub, source = Hub(), Source([])
        async with hub.reading("a", source.feed) as one, hub.reading("a", source.feed) as other:
            assert one is other
            assert hub.streams == 2
            await one.next(0, 0.01)
        assert hub.streams == 0
        assert one._task is not None
        await asyncio.wait({one._task})
        assert one._task.cancelled()

    run(test)


def test_runs_have_feeds_of_their_own() -> None:
    async def test() -> None:
        hub, source = Hub(), Source([])
        async with hub.reading("a", source.feed) as one, hub.reading(None, source.feed) as other:
            assert one is not other

    run(test)


# -- the manager ---------------------------------------------------------------------------------


def test_a_stream_goes_on_when_the_manager_is_back(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stream, "_MANAGER_RETRY_S", 0.01)

    async def test() -> None:
        source = Source(whole(10), errors=[Unavailable("restarting")] * 3)
        assert ids(await taken(source.feed())) == list(range(1, 11))

    run(test)


def test_a_journal_that_is_gone_ends_the_stream_with_its_error() -> None:
    async def test() -> None:
        feed = Source([], errors=[NotFound("the run was deleted")]).feed(state="running")
        with pytest.raises(NotFound):
            await asyncio.wait_for(taken(feed, pace=Pace(20, 1, 1 << 20)), 5)

    run(test)


# -- the response --------------------------------------------------------------------------------


@dataclass
class Wire:
    """The server's side of one connection: takes `room` messages, then blocks."""

    room: int = 1 << 30
    leaves_after_s: float = 20
    sent: list[dict[str, Any]] = field(default_factory=list)

    async def receive(self) -> dict[str, Any]:
        await asyncio.sleep(self.leaves_after_s)
        return {"type": "http.disconnect"}

    async def send(self, message: Any) -> None:
        if len(self.sent) >= self.room:
            await asyncio.Event().wait()
        self.sent.append(message)

    @property
    def body(self) -> bytes:
        return b"".join(message.get("body", b"") for message in self.sent)


def response(feed: Feed, closed: list[bool], pace: Pace = PACE) -> EventStream:
    @contextlib.asynccontextmanager
    async def open_frames() -> AsyncIterator[AsyncIterator[bytes]]:
        try:
            yield frames_of(feed, 0, pace)
        finally:
            closed.append(True)
            feed.close()

    return EventStream(open_frames, pace)


def test_a_response_is_an_event_stream_without_length() -> None:
    async def test() -> None:
        wire, closed = Wire(), list[bool]()
        await response(Source(whole(3)).feed(), closed)({}, wire.receive, wire.send)
        headers = dict(wire.sent[0]["headers"])
        assert headers[b"content-type"] == b"text/event-stream"
        assert b"content-length" not in headers
        assert wire.sent[-1] == {"type": "http.response.body", "body": b"", "more_body": False}
        assert ids([wire.body]) == [1, 2, 3]
        assert closed == [True]

    run(test)


def test_a_client_that_takes_nothing_is_given_up_after_its_time() -> None:
    async def test() -> None:
        wire, closed = Wire(room=2), list[bool]()
        begun = asyncio.get_running_loop().time()
        with pytest.raises(TimeoutError):
            await response(Source(whole(3)).feed(), closed)({}, wire.receive, wire.send)
        assert asyncio.get_running_loop().time() - begun < 5
        assert closed == [True]

    run(test)


def test_a_client_that_goes_away_ends_the_stream() -> None:
    async def test() -> None:
        wire, closed = Wire(leaves_after_s=0.05), list[bool]()
        await response(Source([]).feed(state="running"), closed)({}, wire.receive, wire.send)
        assert closed == [True]

    run(test)
