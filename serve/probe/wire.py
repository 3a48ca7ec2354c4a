"""The one way to the service: HTTP requests, each captured, none of which raises for its answer."""

import json
from collections.abc import Callable, Mapping
from typing import Any, Self
from urllib.parse import urlencode

import httpx

from serve.probe.capture import Captures, Exchange, Request, Stopwatch
from serve.probe.events import Arrival, arrivals

EVENTS = "/api/events/training"
PROPOSAL_EVENTS = "/api/events/proposals"
"""Route of the event streams."""

MAX_BODY_BYTES = 1 << 30
"""Longest answer that is read."""

_TIMEOUT = httpx.Timeout(60.0, connect=5.0)
_CHUNK_BYTES = 1 << 16

Until = Callable[[Arrival], bool]
"""Whether a stream is left behind this event."""


class Wire:
    """Sends requests to one service.

    Args:
        url: Base address.
        token: Sent with every request; None sends none.
        captures: Where exchanges are kept.
        now: Seconds since the probe began.
    """

    def __init__(self, url: str, *, token: str | None, captures: Captures, now: Stopwatch) -> None:
        self.url = url.rstrip("/")
        self.captures = captures
        self._now = now
        self._headers = {"authorization": f"Bearer {token}"} if token else {}
        self._http = httpx.Client(base_url=self.url, timeout=_TIMEOUT, trust_env=False)

    def get(
        self,
        route: str,
        *,
        query: Mapping[str, Any] | None = None,
        headers: Mapping[str, str] | None = None,
        anonymous: bool = False,
        **parts: object,
    ) -> Exchange:
        """Ask for a route; `parts` fill the braces of its path. Anonymous: without the token."""
        own = {} if anonymous else self._headers
        sent = {**own, **(headers or {})}
        return self._send(Request("GET", route, _target(route, query or {}, parts), sent))

    def post(
        self,
        route: str,
        body: Mapping[str, Any],
        *,
        headers: Mapping[str, str] | None = None,
        **parts: object,
    ) -> Exchange:
        """Send a JSON body to a route."""
        sent = {**self._headers, "content-type": "application/json", **(headers or {})}
        data = json.dumps(body).encode()
        return self._send(Request("POST", route, _target(route, {}, parts), sent, data))

    def stream(self, run_id: str, *, after: str = "", until: Until) -> Exchange:
        """Read the event stream of a run to its end, or until an event; events come with it.

        Args:
            run_id: A run.
            after: `Last-Event-ID`; empty sends none.
            until: Whether to leave it behind an event; may act on what it is told.
        """
        return self._stream(EVENTS, {"run_id": run_id}, after=after, until=until)

    def stream_proposals(self, *, until: Until) -> Exchange:
        """Read the event stream of proposals until an event."""
        return self._stream(PROPOSAL_EVENTS, {}, after="", until=until)

    def _stream(
        self, route: str, query: Mapping[str, str], *, after: str, until: Until
    ) -> Exchange:
        headers = {**self._headers, "accept": "text/event-stream"}
        headers |= {"last-event-id": after} if after else {}
        target = _target(route, query, {})
        return self._send(Request("GET", route, target, headers), until=until)

    def _send(self, request: Request, *, until: Until | None = None) -> Exchange:
        number, file = self.captures.next_name(request)
        begun_s = self._now()
        status, headers, body, error = 0, {}, b"", ""
        events: list[Arrival] = []
        try:
            with self._http.stream(
                request.method, request.target, headers=request.headers, content=request.body
            ) as answer:
                status, headers = answer.status_code, _headers(answer)
                if until is not None and answer.status_code == httpx.codes.OK:
                    self._read_events(answer, events, until)
                else:
                    body = _read(answer)
        except (httpx.HTTPError, httpx.InvalidURL, ValueError) as caught:
            error = f"{type(caught).__name__}: {caught}"
        exchange = Exchange(
            number=number,
            method=request.method,
            route=request.route,
            target=request.target,
            status=status,
            headers=headers,
            body=body,
            begun_s=begun_s,
            ended_s=self._now(),
            file=file,
            error=error,
            events=tuple(events),
        )
        return self.captures.keep(request, exchange)

    def _read_events(self, answer: httpx.Response, events: list[Arrival], until: Until) -> None:
        for arrival in arrivals(answer.iter_bytes(), self._now):
            events.append(arrival)
            if until(arrival):
                return

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _target(route: str, query: Mapping[str, Any], parts: Mapping[str, object]) -> str:
    return route.format_map(dict(parts)) + (f"?{urlencode(query)}" if query else "")


def _headers(answer: httpx.Response) -> dict[str, str]:
    return {name.lower(): value for name, value in answer.headers.items()}


def _read(answer: httpx.Response) -> bytes:
    """Return the body.

    Raises:
        ValueError: It is longer than MAX_BODY_BYTES.
    """
    body = bytearray()
    for piece in answer.iter_bytes(_CHUNK_BYTES):
        body += piece
        if len(body) > MAX_BODY_BYTES:
            raise ValueError(f"an answer of more than {MAX_BODY_BYTES} bytes")
    return bytes(body)
