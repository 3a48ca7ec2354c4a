"""How each peer does: a breaker and what was measured of it, from probes and real requests alike.

    closed       requests go there
       | FAILURES failures in a row, or MOST_FAILED of the last WINDOW
    open         none go there for a while, twice as long each time
       | the while is over
    half-open    one goes there: success closes the breaker, failure opens it again

The clock is passed in, so that every move can be tested.
"""

import threading
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any

from evidence.clock import Clock, timestamp
from petals_bridge.bandwidth import Seconds

FAILURES = 3
"""Failures in a row that open a breaker."""

WINDOW = 20
"""How many of the last results count for the rate of failures."""

MOST_FAILED = 0.5
"""Share of failures among the last WINDOW, once there are so many, that opens a breaker."""

OPEN_S = 5.0
"""Seconds that a breaker stays open at first."""

LONGEST_OPEN_S = 300.0
"""Longest time that it stays open; each opening doubles it until then."""

_WEIGHT = 0.2


class BreakerState(StrEnum):
    """Whether requests go to a peer."""

    CLOSED = "closed"
    OPEN = "open"
    HALF_OPEN = "half-open"


class Breaker:
    """The breaker of one peer."""

    def __init__(self) -> None:
        self._results: deque[bool] = deque(maxlen=WINDOW)
        self._in_a_row = 0
        self._openings = 0
        self._open_until: float | None = None
        self._is_trying = False

    def state(self, *, now: float) -> BreakerState:
        """Return its state at a moment, in seconds."""
        if self._open_until is None:
            return BreakerState.CLOSED
        return BreakerState.OPEN if now < self._open_until else BreakerState.HALF_OPEN

    def admits(self, *, now: float) -> bool:
        """Return whether a request may go there: in half-open one at a time."""
        state = self.state(now=now)
        return state is BreakerState.CLOSED or (
            state is BreakerState.HALF_OPEN and not self._is_trying
        )

    def begin(self, *, now: float) -> None:
        """Note that a request goes there."""
        if self.state(now=now) is BreakerState.HALF_OPEN:
            self._is_trying = True

    def succeeded(self, *, now: float) -> None:
        """Note a success; in half-open it closes the breaker."""
        if self.state(now=now) is BreakerState.OPEN:
            return  # the late answer of a request from before
        if self._open_until is not None:
            self._results.clear()
            self._openings = 0
        self._open_until = None
        self._is_trying = False
        self._in_a_row = 0
        self._results.append(True)

    def failed(self, *, now: float) -> None:
        """Note a failure; it may open the breaker."""
        state = self.state(now=now)
        if state is BreakerState.OPEN:
            return
        self._in_a_row += 1
        self._results.append(False)
        if state is BreakerState.HALF_OPEN or self._is_too_much():
            self._open(now)

    def trip(self, *, now: float) -> None:
        """Open the breaker at once: the peer is known to be gone."""
        if self.state(now=now) is not BreakerState.OPEN:
            self._open(now)

    def _is_too_much(self) -> bool:
        is_full = len(self._results) == WINDOW
        share = self._results.count(False) / WINDOW
        return self._in_a_row >= FAILURES or (is_full and share >= MOST_FAILED)

    def _open(self, now: float) -> None:
        self._open_until = now + min(OPEN_S * 2**self._openings, LONGEST_OPEN_S)
        self._openings = min(self._openings + 1, 16)
        self._is_trying = False
        self._in_a_row = 0
        self._results.clear()


@dataclass(slots=True)
class Measured:
    """What was measured of one peer; None where nothing was."""

    rtt_s: float | None = None
    """Round trip of a probe, seconds, smoothed."""
    step_s: float | None = None
    """Time of an inference step of one token, seconds, smoothed."""
    bytes_per_s: float | None = None
    """Of the last transfers, smoothed."""
    requests: int = 0
    failures: int = 0
    last_seen: datetime | None = None
    last_error: str | None = None


class Health:
    """Breakers and measurements of all peers of a bridge; safe to use from several threads.

    Args:
        seconds: The clock of the breakers.
        clock: Wall time, for `last_seen`.
    """

    def __init__(self, *, seconds: Seconds, clock: Clock) -> None:
        self._seconds = seconds
        self._clock = clock
        self._turn = threading.Lock()
        self._breakers: dict[str, Breaker] = {}
        self._measured: dict[str, Measured] = {}

    def admitting(self, peers: Iterable[str]) -> frozenset[str]:
        """Return those of `peers` to which requests may go now."""
        with self._turn:
            now = self._seconds()
            return frozenset(peer for peer in peers if self._breaker(peer).admits(now=now))

    def step_times(self) -> dict[str, float]:
        """Return the time of a step of each peer of which it was measured, in seconds."""
        with self._turn:
            return {
                peer: one.step_s for peer, one in self._measured.items() if one.step_s is not None
            }

    def began(self, peer: str) -> None:
        """Note that a request goes to a peer."""
        with self._turn:
            self._breaker(peer).begin(now=self._seconds())

    def answered(
        self,
        peer: str,
        *,
        rtt_s: float | None = None,
        step_s: float | None = None,
        size: int = 0,
    ) -> None:
        """Note that a peer answered, and how quickly."""
        with self._turn:
            self._breaker(peer).succeeded(now=self._seconds())
            one = self._measured.setdefault(peer, Measured())
            one.requests += 1
            one.last_seen = self._clock()
            one.rtt_s = _smoothed(one.rtt_s, rtt_s)
            one.step_s = _smoothed(one.step_s, step_s)
            if step_s and size:
                one.bytes_per_s = _smoothed(one.bytes_per_s, size / step_s)

    def failed(self, peer: str, error: str, *, is_gone: bool = False) -> None:
        """Note that a peer did not answer, or wrongly; `is_gone` opens its breaker at once."""
        with self._turn:
            breaker, now = self._breaker(peer), self._seconds()
            breaker.failed(now=now)
            if is_gone:
                breaker.trip(now=now)
            one = self._measured.setdefault(peer, Measured())
            one.requests += 1
            one.failures += 1
            one.last_error = error[:300]

    def view(self, peer: str) -> dict[str, Any]:
        """Return what is known of a peer, as JSON."""
        with self._turn:
            one = self._measured.get(peer, Measured())
            return {
                "breaker": self._breaker(peer).state(now=self._seconds()),
                "rtt_s": one.rtt_s,
                "step_s": one.step_s,
                "bytes_per_s": one.bytes_per_s,
                "requests": one.requests,
                "failures": one.failures,
                "error_rate": one.failures / one.requests if one.requests else None,
                "last_seen": timestamp(one.last_seen) if one.last_seen else None,
                "last_error": one.last_error,
            }

    def _breaker(self, peer: str) -> Breaker:
        return self._breakers.setdefault(peer, Breaker())


def _smoothed(old: float | None, new: float | None) -> float | None:
    """Return the exponentially weighted mean; None where nothing was measured."""
    if new is None or old is None:
        return old if new is None else new
    return (1 - _WEIGHT) * old + _WEIGHT * new
