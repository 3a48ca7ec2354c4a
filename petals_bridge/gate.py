"""The door of our own server: what every remote call passes before anything is computed.

A call by an unlisted peer ends with PermissionError, at once. A stream is looked at again with
each message and every RECHECK_S between them, so that a peer that is taken off the list loses the
stream that it has open. Calls of the table (DHT) need any right at all, calls to blocks the right
`use`. Bytes are counted, and held back where a limit says so.

hivemind reads the name and the annotation of a handler's second argument: the wrappers keep them.
"""

import asyncio
import functools
import inspect
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any, Protocol

from evidence.errors import RateLimited
from petals_bridge.bandwidth import Direction, Guardrail

RECHECK_S = 0.5
"""How often an open stream that is silent is looked at again, in seconds."""

Allowed = Callable[[str], bool]
"""Whether a peer, by its id, may make a call now."""

Denied = Callable[[str, str], None]
"""Told (peer id, call) when one is refused."""


class RemoteContext(Protocol):
    """What a handler is told of its caller."""

    remote_id: Any


class Gate:
    """Decides for every handler of one process.

    Args:
        allowed: Who may call.
        denied: Told of refusals.
        guard: Counts and limits; None where calls carry no tensors.
    """

    def __init__(self, allowed: Allowed, denied: Denied, guard: Guardrail | None = None) -> None:
        self._allowed = allowed
        self._denied = denied
        self._guard = guard

    def install(self, handlers: type) -> list[str]:
        """Wrap every `rpc_` method of a class of handlers; return their names."""
        names = sorted(name for name in dir(handlers) if name.startswith("rpc_"))
        for name in names:
            handler = getattr(handlers, name)
            is_stream = inspect.isasyncgenfunction(handler)
            wrapped = self._stream(name, handler) if is_stream else self._unary(name, handler)
            assert _second(wrapped) == _second(handler), f"hivemind would not know {name}"
            setattr(handlers, name, wrapped)
        return names

    def require(self, peer_id: str, call: str) -> None:
        """Refuse a caller that may not make a call.

        Raises:
            PermissionError: It may not; hivemind carries the message to the caller.
        """
        if not self._allowed(peer_id):
            self._denied(peer_id, call)
            raise PermissionError(f"peer {peer_id} is not on the allowlist of this server ({call})")

    def _unary(self, name: str, handler: Callable[..., Awaitable[Any]]) -> Callable[..., Any]:
        gate = self

        @functools.wraps(handler)
        async def unary(self: Any, request: Any, context: RemoteContext) -> Any:
            peer = str(context.remote_id)
            gate.require(peer, name)
            await gate.pass_in(peer, request)
            answer = await handler(self, request, context)
            await gate.pass_out(peer, answer)
            return answer

        return unary

    def _stream(self, name: str, handler: Callable[..., AsyncIterator[Any]]) -> Callable[..., Any]:
        gate = self

        @functools.wraps(handler)
        async def stream(self: Any, requests: Any, context: RemoteContext) -> AsyncIterator[Any]:
            peer = str(context.remote_id)
            gate.require(peer, name)
            gate.open(peer)
            try:
                async for answer in handler(self, gate.watched(requests, peer, name), context):
                    gate.require(peer, name)
                    await gate.pass_out(peer, answer)
                    yield answer
            finally:
                gate.close(peer)

        return stream

    async def watched(
        self, requests: AsyncIterator[Any], peer: str, call: str
    ) -> AsyncIterator[Any]:
        """Yield a stream's messages; end it when its peer is taken off the list.

        Raises:
            PermissionError: As for `require`.
        """
        waiting: asyncio.Task[Any] | None = None
        try:
            while True:
                waiting = waiting or asyncio.ensure_future(_next(requests))
                done, _ = await asyncio.wait({waiting}, timeout=RECHECK_S)
                self.require(peer, call)
                if not done:
                    continue
                try:
                    message = waiting.result()
                except StopAsyncIteration:
                    return
                waiting = None
                await self.pass_in(peer, message)
                yield message
        finally:
            if waiting is not None:
                waiting.cancel()

    async def pass_in(self, peer: str, message: Any) -> None:
        """Count a message that came, and wait off what is owed for it."""
        if self._guard is not None:
            await _wait(self._guard.admit(peer, Direction.RECEIVED, message.ByteSize()))

    async def pass_out(self, peer: str, message: Any) -> None:
        """Count a message that goes out, after it has waited for its turn."""
        if self._guard is not None:
            await _wait(self._guard.admit(peer, Direction.SENT, message.ByteSize()))

    def open(self, peer: str) -> None:
        """Count a stream in.

        Raises:
            PermissionError: The peer, or all together, have as many as may be.
        """
        if self._guard is not None:
            try:
                self._guard.open_session(peer)
            except RateLimited as error:  # hivemind carries builtin errors only
                raise PermissionError(error.detail) from error

    def close(self, peer: str) -> None:
        """Count a stream out."""
        if self._guard is not None:
            self._guard.close_session(peer)


async def _next(requests: AsyncIterator[Any]) -> Any:
    return await anext(requests)


async def _wait(seconds: float) -> None:
    if seconds > 0:
        await asyncio.sleep(seconds)


def _second(handler: Callable[..., Any]) -> str:
    """Return the name of the second argument as hivemind finds it."""
    return inspect.getfullargspec(handler).args[1]
