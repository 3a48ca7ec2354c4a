"""Many SSE readers in one process, as cheap as can be: they hand on bytes. Stdlib only."""

import asyncio
import resource
from collections.abc import Callable
from functools import partial

OnBytes = Callable[[bytes], None]

_FILES = 8192
_CONNECT_TIMEOUT_S = 60.0


class Reader(asyncio.Protocol):
    """One connection that sends its request and then only reads.

    Args:
        request: The bytes of the HTTP request.
        on_bytes: Called with what arrives, heads and chunk framing included.
    """

    def __init__(self, request: bytes, on_bytes: OnBytes) -> None:
        self.answered = asyncio.get_running_loop().create_future()
        self._request = request
        self._on_bytes = on_bytes
        self.transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Send the request."""
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport
        transport.write(self._request)

    def data_received(self, data: bytes) -> None:
        """Note the answer's first bytes, and hand on everything."""
        if not self.answered.done():
            self.answered.set_result(data[:15])
        self._on_bytes(data)


class Counter:
    """Counts SSE events in a stream of bytes, also where a chunk ends within an `id:` line."""

    _MARK = b"\nid: "

    def __init__(self) -> None:
        self.count = 0
        self._tail = b""

    def feed(self, data: bytes) -> int:
        """Take bytes in; return how many events began in them."""
        joined = self._tail + data
        found = joined.count(self._MARK)
        self._tail = joined[-(len(self._MARK) - 1) :]
        self.count += found
        return found


def request(path: str, *, host: str, headers: dict[str, str] | None = None) -> bytes:
    """Return the bytes of a GET request."""
    lines = [f"GET {path} HTTP/1.1", f"host: {host}", "accept: text/event-stream"]
    lines += [f"{name}: {value}" for name, value in (headers or {}).items()]
    return ("\r\n".join(lines) + "\r\n\r\n").encode()


async def connect(
    port: int, count: int, *, request: bytes, on_bytes: Callable[[int], OnBytes]
) -> list[Reader]:
    """Open connections and return when every one of them has got the head of a 200.

    Raises:
        ConnectionError: A server refused, or did not answer in time.
    """
    loop = asyncio.get_running_loop()
    readers = []
    for i in range(count):
        _, reader = await loop.create_connection(
            partial(Reader, request, on_bytes(i)), "127.0.0.1", port
        )
        readers.append(reader)
    async with asyncio.timeout(_CONNECT_TIMEOUT_S):
        heads = await asyncio.gather(*(reader.answered for reader in readers))
    wrong = [head for head in heads if not head.startswith(b"HTTP/1.1 200")]
    if wrong:
        raise ConnectionError(f"expected 200, found {wrong[0]!r}")
    return readers


def raise_file_limit() -> None:
    """Allow this process as many open files as many readers need."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    most = _FILES if hard == resource.RLIM_INFINITY else min(hard, _FILES)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))
