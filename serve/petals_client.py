"""The client of the Petals routes: `Client.petals`."""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Any, Protocol

import httpx

from evidence.errors import Unavailable

Json = dict[str, Any]
Ask = Callable[..., Json]
"""(method, path, **options) -> the JSON of the answer."""


class Event(Protocol):
    """One event of a stream; see `serve.client.Event`."""

    @property
    def seq(self) -> int | None:
        """Its sequence number."""

    @property
    def kind(self) -> str:
        """`generation`, `route`, `token`, `petals.fallback`, `error` or `end`."""

    @property
    def data(self) -> Json:
        """The journal line."""


OpenStream = Callable[..., AbstractContextManager[Iterator[Event] | None]]
"""(method, path, **options) -> the events of a stream; None where there are no more."""

_SLOW_S = 120.0
_RETRY_S = 0.5
_PATIENCE_S = 120.0


class PetalsClient:
    """Calls the Petals routes of one service.

    Args:
        ask: Sends a request.
        stream: Opens a stream.
    """

    def __init__(self, ask: Ask, stream: OpenStream) -> None:
        self._ask = ask
        self._stream = stream

    def status(self) -> Json:
        """Return what the bridge does."""
        return self._ask("GET", "/api/petals/status", timeout=_SLOW_S)

    def peers(self) -> Json:
        """Return the peers that are listed or announce blocks."""
        return self._ask("GET", "/api/petals/peers")

    def metrics(self) -> Json:
        """Return counters and measured bytes."""
        return self._ask("GET", "/api/petals/metrics")

    def join(self, model: str) -> Json:
        """Join the swarm for a model; return the status."""
        return self._ask("POST", "/api/petals/join", json={"model": model}, timeout=_SLOW_S)

    def host(self, model: str, begin: int, end: int) -> Json:
        """Serve blocks of a model; return the status."""
        span = {"model": model, "begin": begin, "end": end}
        return self._ask("POST", "/api/petals/host", json=span, timeout=_SLOW_S)

    def leave(self) -> Json:
        """Leave the swarm and stop serving; return the status."""
        return self._ask("POST", "/api/petals/leave", timeout=_SLOW_S)

    def warm(self, model: str, blocks: Sequence[int] | None = None) -> Json:
        """Put blocks into the cache, all of them if None."""
        wanted = {"model": model, "blocks": list(blocks) if blocks is not None else None}
        return self._ask("POST", "/api/petals/cache", json=wanted, timeout=_SLOW_S)

    def allowlist(self) -> Json:
        """Return the allowlist in force."""
        return self._ask("GET", "/api/petals/allowlist")

    def set_allowlist(self, counter: int, peers: Sequence[Mapping[str, Any]]) -> Json:
        """Replace the allowlist that has `counter`."""
        change = {"counter": counter, "peers": [dict(peer) for peer in peers]}
        return self._ask("PUT", "/api/petals/allowlist", json=change)

    def allow(
        self, peer_id: str, label: str, rights: Sequence[str], *, expires: str | None = None
    ) -> Json:
        """List a peer, or change its entry."""
        present = self.allowlist()
        entry = {"id": peer_id, "label": label, "rights": list(rights), "expires": expires}
        others = [peer for peer in present["peers"] if peer["id"] != peer_id]
        return self.set_allowlist(present["counter"], [*others, entry])

    def deny(self, peer_id: str) -> Json:
        """Take a peer off the list; it is no error if it was not there."""
        present = self.allowlist()
        others = [peer for peer in present["peers"] if peer["id"] != peer_id]
        if len(others) == len(present["peers"]):
            return present
        return self.set_allowlist(present["counter"], others)

    def generate(self, **request: Any) -> Iterator[Event]:
        """Yield the events of a new generation to its end, through lost streams and restarts."""
        after, generation_id = 0, ""
        with self._stream("POST", "/api/petals/generate", json=request) as events:
            for event in events or ():
                after, generation_id = (
                    event.seq or after,
                    event.data.get("generation_id", generation_id),
                )
                yield event
                if event.kind == "end":
                    return
        yield from self.resume(generation_id, after=after)

    def resume(self, generation_id: str, *, after: int = 0) -> Iterator[Event]:
        """Yield the events of a generation above a sequence number, to its end.

        Raises:
            Unavailable: The service did not come back.
        """
        deadline = time.monotonic() + _PATIENCE_S
        path = f"/api/petals/generate/{generation_id}"
        while True:
            try:
                headers = {"last-event-id": str(after)}
                with self._stream("GET", path, headers=headers) as events:
                    if events is None:
                        return
                    for event in events:
                        after = event.seq or after
                        yield event
                        if event.kind == "end":
                            return
            except (httpx.TransportError, Unavailable):
                if time.monotonic() > deadline:
                    raise
                time.sleep(_RETRY_S)
