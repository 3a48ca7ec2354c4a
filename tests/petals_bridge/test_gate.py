"""The door of our server, with real asynchronous handlers behind it."""

import asyncio
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from typing import Any

import pytest

from petals_bridge import gate as gates
from petals_bridge.bandwidth import Allowance, Guardrail
from petals_bridge.gate import Gate
from tests.petals_bridge.test_bandwidth import Dial


@dataclass
class Message:
    text: str

    def ByteSize(self) -> int:  # noqa: N802 - protobuf's name
        return len(self.text)


@dataclass
class Caller:
    remote_id: str


class Lists:
    """Who is listed; a test may change it."""

    def __init__(self, *peers: str) -> None:
        self.peers = set(peers)
        self.denied: list[tuple[str, str]] = []

    def gate(self, guard: Guardrail | None = None) -> Gate:
        return Gate(self.peers.__contains__, lambda *one: self.denied.append(one), guard)


def handlers() -> type:
    class Handlers:
        computed: list[str] = []  # noqa: RUF012 - one list a class is the point

        async def rpc_info(self, request: Message, context: Caller) -> Message:
            assert context.remote_id
            self.computed.append(request.text)
            return Message(request.text.upper())

        async def rpc_inference(
            self, requests: AsyncIterator[Message], context: Caller
        ) -> AsyncIterator[Message]:
            assert context.remote_id
            async for one in requests:
                self.computed.append(one.text)
                yield Message(one.text.upper())

        async def other(self) -> None: ...

    return Handlers


async def messages(*texts: str, then: Callable[[], None] = lambda: None) -> AsyncIterator[Message]:
    for text in texts:
        yield Message(text)
    then()


async def drained(stream: AsyncIterator[Message]) -> list[str]:
    return [one.text async for one in stream]


def test_a_listed_peer_passes_both_kinds_of_calls() -> None:
    lists, kind = Lists("friend"), handlers()
    assert lists.gate().install(kind) == ["rpc_inference", "rpc_info"]
    one: Any = kind()
    assert asyncio.run(one.rpc_info(Message("a"), Caller("friend"))) == Message("A")
    assert asyncio.run(drained(one.rpc_inference(messages("b", "c"), Caller("friend")))) == [
        "B",
        "C",
    ]


def test_a_stranger_is_refused_before_anything_is_computed() -> None:
    lists, kind = Lists("friend"), handlers()
    lists.gate().install(kind)
    one: Any = kind()
    with pytest.raises(PermissionError, match="stranger is not on the allowlist"):
        asyncio.run(one.rpc_info(Message("a"), Caller("stranger")))
    with pytest.raises(PermissionError):
        asyncio.run(drained(one.rpc_inference(messages("b"), Caller("stranger"))))
    assert one.computed == []
    assert lists.denied == [("stranger", "rpc_info"), ("stranger", "rpc_inference")]


def test_a_peer_that_is_revoked_loses_the_stream_that_it_has_open() -> None:
    lists, kind = Lists("friend"), handlers()
    lists.gate().install(kind)
    one: Any = kind()

    async def use() -> list[str]:
        stream = one.rpc_inference(messages("a", "b", "c"), Caller("friend"))
        got = [(await anext(stream)).text]
        lists.peers.clear()
        with pytest.raises(PermissionError):
            await anext(stream)
        return got

    assert asyncio.run(use()) == ["A"]
    assert one.computed == ["a"]


def test_a_silent_stream_of_a_revoked_peer_is_cut_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gates, "RECHECK_S", 0.01)
    lists, kind = Lists("friend"), handlers()
    lists.gate().install(kind)
    one: Any = kind()

    async def silent() -> AsyncIterator[Message]:
        lists.peers.clear()
        await asyncio.Event().wait()
        yield Message("never")

    with pytest.raises(PermissionError):
        asyncio.run(asyncio.wait_for(drained(one.rpc_inference(silent(), Caller("friend"))), 10))


def test_bytes_are_counted_both_ways_and_sessions_end() -> None:
    lists, kind = Lists("friend"), handlers()
    guard = Guardrail(Allowance(peer_sessions=1), seconds=Dial())
    lists.gate(guard).install(kind)
    one: Any = kind()
    asyncio.run(drained(one.rpc_inference(messages("bb", "c"), Caller("friend"))))
    asyncio.run(one.rpc_info(Message("aaaa"), Caller("friend")))
    assert guard.counts() == {"friend": {"bytes_sent": 7, "bytes_received": 7, "sessions": 0}}


def test_a_session_too_many_is_refused_with_the_reason() -> None:
    lists, kind = Lists("friend"), handlers()
    guard = Guardrail(Allowance(peer_sessions=1), seconds=Dial())
    lists.gate(guard).install(kind)
    one: Any = kind()

    async def both() -> None:
        first = one.rpc_inference(messages("a", "b"), Caller("friend"))
        await anext(first)
        with pytest.raises(PermissionError, match="petals_peer_sessions"):
            await drained(one.rpc_inference(messages("c"), Caller("friend")))
        await first.aclose()

    asyncio.run(both())
    assert guard.counts()["friend"]["sessions"] == 0
