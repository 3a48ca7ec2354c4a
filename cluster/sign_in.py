"""How often an address may try to sign in: so often within a minute, then it has to wait.

Kept in memory: a restart forgets it, and costs whoever guesses more than it gives.
"""

from collections import OrderedDict, deque
from datetime import datetime, timedelta

from evidence.clock import Clock
from evidence.errors import RateLimited

WINDOW_S = 60
MOST_ADDRESSES = 10_000
"""Addresses that are kept; the one that tried longest ago is forgotten first."""


class SignInLimit:
    """Counts attempts to sign in by address; a success is forgotten.

    Args:
        most: Attempts within WINDOW_S.
        clock: The present.
    """

    def __init__(self, most: int, *, clock: Clock) -> None:
        self._most = most
        self._clock = clock
        self._attempts: OrderedDict[str, deque[datetime]] = OrderedDict()

    def attempt(self, address: str) -> None:
        """Count an attempt, before anything is looked up.

        Raises:
            RateLimited: There were too many; this one is not counted.
        """
        now = self._clock()
        tried = self._attempts.setdefault(address, deque())
        self._attempts.move_to_end(address)
        while tried and now - tried[0] >= timedelta(seconds=WINDOW_S):
            tried.popleft()
        if len(tried) >= self._most:
            raise RateLimited(
                f"{self._most} attempts to sign in within {WINDOW_S} s failed, "
                "the limit max_sign_ins",
                field="max_sign_ins",
                cure=f"try again in {WINDOW_S} s",
            )
        tried.append(now)
        if len(self._attempts) > MOST_ADDRESSES:
            self._attempts.popitem(last=False)

    def succeeded(self, address: str) -> None:
        """Forget the attempts of an address that could sign in."""
        self._attempts.pop(address, None)
