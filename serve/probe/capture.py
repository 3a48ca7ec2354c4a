"""Exchanges with a service, each kept as a file; no token ever stands in one.

captures/0001-get-api-healthz.json    one exchange: request, status, headers, body or its file
captures/bodies/SHA256                a body that is no text, or a long one
captures/0009-...-events.jsonl        the events of a stream, with the moments of their arrival
"""

import re
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from evidence import canonical, clock, digest
from evidence.clock import Clock
from evidence.files import write_atomic
from serve.probe.events import Arrival

CAPTURES = "captures"
"""Folder of the captures below the report's."""

REDACTED = "[redacted]"
"""What stands where a token stood."""

_BODIES = "bodies"
_MOST_TEXT_BYTES = 1 << 16
_SECRET_HEADERS = frozenset({"authorization", "cookie", "set-cookie", "proxy-authorization"})


@dataclass(frozen=True)
class Exchange:
    """One request and its answer."""

    number: int
    """1, 2, 3, ... in the order of their beginning."""
    method: str
    route: str
    """Path as OpenAPI writes it."""
    target: str
    """Path and query as they were sent."""
    status: int
    """0 where no answer came."""
    headers: Mapping[str, str]
    """Of the answer, names in lower case."""
    body: bytes = field(repr=False)
    """Empty for a stream, whose events are captured instead."""
    begun_s: float
    """Seconds since the probe began."""
    ended_s: float
    file: str
    """Its capture, relative to the report."""
    error: str = ""
    """Why no answer came, or why it broke off."""
    events: tuple[Arrival, ...] = field(default=(), repr=False)

    @property
    def place(self) -> str:
        """The route as it is named in reports."""
        return f"{self.method} {self.route}"

    @cached_property
    def json(self) -> Any:
        """The value of a JSON body, which nobody changes.

        Raises:
            InvalidInput: It is no strict JSON.
        """
        return canonical.decode(self.body)


@dataclass(frozen=True, slots=True)
class Request:
    """What is sent."""

    method: str
    route: str
    target: str
    headers: Mapping[str, str]
    body: bytes = b""


class Captures:
    """Writes exchanges below a folder.

    Args:
        folder: Of the report; must be there.
        secret: The token, which is written nowhere; None where there is none.
        clock: For the moments of exchanges.
    """

    def __init__(self, folder: Path, *, secret: str | None, clock: Clock) -> None:
        self.exchanges: list[Exchange] = []
        self.leaks: list[Exchange] = []
        """Exchanges whose answer held the token."""
        self._folder = folder
        self._secret = secret
        self._clock = clock
        self._lock = threading.Lock()
        self._numbers = 0
        (folder / CAPTURES / _BODIES).mkdir(parents=True, exist_ok=True)

    def next_name(self, request: Request) -> tuple[int, str]:
        """Return the number of the next exchange, and its file."""
        with self._lock:
            self._numbers += 1
            number = self._numbers
        words = re.sub(r"[^a-z0-9]+", "-", f"{request.method} {request.route}".lower()).strip("-")
        return number, f"{CAPTURES}/{number:04}-{words}.json"

    def keep(self, request: Request, exchange: Exchange) -> Exchange:
        """Write an exchange and return it.

        Raises:
            StorageFull: There is no space.
            OSError: It cannot be written.
        """
        has_leaked = self._holds_secret(exchange)
        record = {
            "v": 1,
            "number": exchange.number,
            "at": clock.timestamp(self._clock()),
            "begun_s": round(exchange.begun_s, 6),
            "ended_s": round(exchange.ended_s, 6),
            "request": {
                "method": request.method,
                "route": request.route,
                "target": self._clean(request.target),
                "headers": self._clean_headers(request.headers),
                "body": self._clean(request.body.decode("utf-8", "replace")),
            },
            "status": exchange.status,
            "error": self._clean(exchange.error),
            "headers": self._clean_headers(exchange.headers),
            "body": self._body(exchange, is_withheld=has_leaked),
        }
        if exchange.events:
            record["events"] = self._events(exchange)
        write_atomic(self._folder / exchange.file, canonical.encode(record))
        with self._lock:
            self.exchanges.append(exchange)
            if has_leaked:
                self.leaks.append(exchange)
        return exchange

    def _body(self, exchange: Exchange, *, is_withheld: bool) -> dict[str, Any]:
        body = exchange.body
        told: dict[str, Any] = {"bytes": len(body), "sha256": digest.of_bytes(body)}
        if is_withheld:
            return {**told, "text": REDACTED}
        text = _text(body)
        if text is not None:
            return {**told, "text": text}
        name = f"{CAPTURES}/{_BODIES}/{told['sha256']}"
        write_atomic(self._folder / name, body)
        return {**told, "file": name}

    def _events(self, exchange: Exchange) -> dict[str, Any]:
        name = f"{exchange.file.removesuffix('.json')}-events.jsonl"
        lines = [canonical.encode(one.as_json()) for one in exchange.events]
        text = self._clean(b"".join(line + b"\n" for line in lines).decode())
        write_atomic(self._folder / name, text.encode())
        return {"count": len(lines), "file": name}

    def _holds_secret(self, exchange: Exchange) -> bool:
        if not self._secret:
            return False
        answered = [*exchange.headers.values(), *(one.data for one in exchange.events)]
        secret = self._secret
        return secret.encode() in exchange.body or any(secret in text for text in answered)

    def _clean(self, text: str) -> str:
        return text.replace(self._secret, REDACTED) if self._secret else text

    def _clean_headers(self, headers: Mapping[str, str]) -> dict[str, str]:
        return {
            name: REDACTED if name.lower() in _SECRET_HEADERS else self._clean(value)
            for name, value in sorted(headers.items())
        }


def _text(body: bytes) -> str | None:
    """Return a short body that is text, else None."""
    if len(body) > _MOST_TEXT_BYTES:
        return None
    try:
        return body.decode("utf-8")
    except UnicodeDecodeError:
        return None


Stopwatch = Callable[[], float]
"""Returns the seconds since the probe began."""
