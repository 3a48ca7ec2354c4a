"""How much may pass to and from each peer: token buckets and a cap on sessions.

A transfer is asked for before it is made. It is let through at once, told how long to wait, or
refused with the reason; nothing is dropped. Bytes are counted per peer and direction whatever the
limits are.
"""

import threading
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from enum import StrEnum

from evidence.errors import InvalidInput, RateLimited

Seconds = Callable[[], float]
"""A clock that only goes forward, in seconds."""


class Direction(StrEnum):
    """Which way bytes go."""

    SENT = "sent"
    RECEIVED = "received"


class TokenBucket:
    """At most `rate` bytes a second in the long run, and `burst` at once.

    A transfer larger than the burst is let through once the bucket is full, and is paid off after.
    Source: RFC 3290 §A.2 (the loose token bucket).

    Args:
        rate: Bytes a second, > 0.
        burst: Bytes, > 0.
        now: The moment at which it is full, in seconds.
    """

    def __init__(self, rate: float, burst: float, *, now: float) -> None:
        if rate <= 0 or burst <= 0:
            raise InvalidInput(f"expected a rate and a burst above 0, found {rate} and {burst}")
        self._rate = rate
        self._burst = burst
        self._level = burst
        self._at = now

    def wait_for(self, size: int, *, now: float) -> float:
        """Return how many seconds to wait until `size` bytes may pass; takes none."""
        self._fill(now)
        return max(0.0, (min(size, self._burst) - self._level) / self._rate)

    def take(self, size: int, *, now: float) -> None:
        """Take `size` bytes; the level may fall below zero."""
        self._fill(now)
        self._level -= size

    def _fill(self, now: float) -> None:
        self._level = min(self._burst, self._level + max(0.0, now - self._at) * self._rate)
        self._at = max(self._at, now)


@dataclass(frozen=True, slots=True)
class Allowance:
    """The limits of a bridge; None is no limit."""

    peer_bytes_per_s: int | None = None
    """Each direction of each peer."""
    total_bytes_per_s: int | None = None
    """Each direction of all peers together."""
    peer_sessions: int = 32
    """Open inference sessions with one peer."""
    total_sessions: int = 64
    """Open inference sessions with all peers."""
    max_wait_s: float = 10.0
    """A transfer that would have to wait longer is refused."""

    BURST_S = 1.0
    """A bucket holds what flows in this many seconds."""


class Guardrail:
    """The buckets and counts of one process; safe to use from several threads.

    Args:
        allowance: The limits.
        seconds: The clock.
    """

    def __init__(self, allowance: Allowance, *, seconds: Seconds) -> None:
        self._allowance = allowance
        self._seconds = seconds
        self._turn = threading.Lock()
        self._buckets: dict[tuple[str | None, Direction], TokenBucket] = {}
        self._bytes: dict[str, dict[Direction, int]] = defaultdict(
            lambda: dict.fromkeys(Direction, 0)
        )
        self._sessions: dict[str, int] = defaultdict(int)
        self.waited_s = 0.0
        """Seconds that transfers were told to wait, together."""
        self.refused = 0
        """Transfers and sessions that were refused."""

    def admit(self, peer_id: str, direction: Direction, size: int) -> float:
        """Count a transfer in, and return how many seconds to wait before it is made.

        Raises:
            RateLimited: It would have to wait longer than `max_wait_s`; it is not counted.
        """
        with self._turn:
            now = self._seconds()
            limits = {
                (peer_id, direction): self._allowance.peer_bytes_per_s,
                (None, direction): self._allowance.total_bytes_per_s,
            }
            buckets = [
                self._bucket(key, rate, now) for key, rate in limits.items() if rate is not None
            ]
            wait_s = max((bucket.wait_for(size, now=now) for bucket in buckets), default=0.0)
            if wait_s > self._allowance.max_wait_s:
                self.refused += 1
                raise RateLimited(
                    f"{size} bytes {direction} for peer {peer_id} would wait {wait_s:.1f} s, "
                    f"the limit is {self._allowance.max_wait_s} s",
                    field="petals_peer_bytes_per_s",
                    expected=f"at most {self._allowance.max_wait_s} s",
                    found=f"{wait_s:.1f} s",
                )
            for bucket in buckets:
                bucket.take(size, now=now)
            self._bytes[peer_id][direction] += size
            self.waited_s += wait_s
            return wait_s

    def note(self, peer_id: str, direction: Direction, size: int) -> None:
        """Count bytes that have passed already: what was received is known only then."""
        with self._turn:
            now = self._seconds()
            for key, rate in (
                ((peer_id, direction), self._allowance.peer_bytes_per_s),
                ((None, direction), self._allowance.total_bytes_per_s),
            ):
                if rate is not None:
                    self._bucket(key, rate, now).take(size, now=now)
            self._bytes[peer_id][direction] += size

    def wait_to_receive(self, peer_id: str) -> float:
        """Return how many seconds to wait before asking a peer for more.

        What comes is known only when it is here; a debt from earlier answers is waited off.

        Raises:
            RateLimited: It would be longer than `max_wait_s`.
        """
        return self.admit(peer_id, Direction.RECEIVED, 0)

    @contextmanager
    def session(self, peer_id: str) -> Iterator[None]:
        """Hold one of the sessions with a peer.

        Raises:
            RateLimited: There are as many as may be.
        """
        self.open_session(peer_id)
        try:
            yield
        finally:
            self.close_session(peer_id)

    def open_session(self, peer_id: str) -> None:
        """Count a session in; `close_session` counts it out.

        Raises:
            RateLimited: There are as many as may be.
        """
        with self._turn:
            own, total = self._sessions[peer_id], sum(self._sessions.values())
            for found, most, field in (
                (own, self._allowance.peer_sessions, "petals_peer_sessions"),
                (total, self._allowance.total_sessions, "petals_total_sessions"),
            ):
                if found >= most:
                    self.refused += 1
                    raise RateLimited(
                        f"peer {peer_id}: {found} sessions are open, the limit {field} is {most}",
                        field=field,
                        expected=f"fewer than {most}",
                        found=str(found),
                    )
            self._sessions[peer_id] += 1

    def close_session(self, peer_id: str) -> None:
        """Count a session out."""
        with self._turn:
            self._sessions[peer_id] -= 1
            assert self._sessions[peer_id] >= 0, "a session was closed twice"

    def has_room(self, peer_id: str) -> bool:
        """Return whether another session with a peer may be opened."""
        with self._turn:
            return (
                self._sessions[peer_id] < self._allowance.peer_sessions
                and sum(self._sessions.values()) < self._allowance.total_sessions
            )

    def counts(self) -> dict[str, dict[str, int]]:
        """Return bytes sent and received and open sessions, by peer."""
        with self._turn:
            return {
                peer: {
                    "bytes_sent": self._bytes[peer][Direction.SENT],
                    "bytes_received": self._bytes[peer][Direction.RECEIVED],
                    "sessions": self._sessions[peer],
                }
                for peer in sorted({*self._bytes, *self._sessions})
            }

    def _bucket(self, key: tuple[str | None, Direction], rate: int, now: float) -> TokenBucket:
        if key not in self._buckets:
            self._buckets[key] = TokenBucket(rate, rate * Allowance.BURST_S, now=now)
        return self._buckets[key]
