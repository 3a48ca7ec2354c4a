"""Server-sent events as they come: each with the moment of its arrival.

Source: WHATWG HTML, 9.2.6 "Interpreting an event stream", for lines that end with a newline.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from evidence import canonical

MAX_EVENT_BYTES = 4 << 20
"""Most bytes without an end of an event; a journal line has 1 MiB at most."""


@dataclass(frozen=True, slots=True)
class Arrival:
    """One event."""

    at_s: float
    """When its last byte came, in seconds since the probe began."""
    id: str
    kind: str
    data: str
    """As it was sent."""

    @property
    def record(self) -> dict[str, Any]:
        """The journal line.

        Raises:
            InvalidInput: The data is no JSON object.
        """
        return canonical.decode_object(self.data.encode())

    def as_json(self) -> dict[str, Any]:
        """Return it as it is captured."""
        return {"at_s": self.at_s, "id": self.id, "event": self.kind, "data": self.data}


def arrivals(pieces: Iterable[bytes], now: Callable[[], float]) -> Iterator[Arrival]:
    """Yield the events of a stream; comments, `retry` and events without data are passed over.

    Args:
        pieces: The body as it comes.
        now: Seconds since the probe began.

    Raises:
        ValueError: An event has no end within MAX_EVENT_BYTES.
    """
    held = b""
    for piece in pieces:
        held += piece.replace(b"\r\n", b"\n")
        *blocks, held = held.split(b"\n\n")
        if len(held) > MAX_EVENT_BYTES:
            raise ValueError(f"an event of more than {MAX_EVENT_BYTES} bytes")
        at_s = now()
        for block in blocks:
            arrival = _event(block.decode("utf-8", "replace"), at_s)
            if arrival is not None:
                yield arrival


def _event(block: str, at_s: float) -> Arrival | None:
    fields: dict[str, list[str]] = {}
    for line in block.split("\n"):
        name, _, value = line.partition(":")
        fields.setdefault(name, []).append(value.removeprefix(" "))
    if "data" not in fields:
        return None
    last = {name: values[-1] for name, values in fields.items()}
    return Arrival(
        at_s=at_s,
        id=last.get("id", ""),
        kind=last.get("event", "message"),
        data="\n".join(fields["data"]),
    )
