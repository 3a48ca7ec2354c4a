"""A wake-up call for any number of waiting coroutines."""

import asyncio


class Pulse:
    """Coroutines wait for it; each `fire` wakes those that wait at that moment."""

    def __init__(self) -> None:
        self._event = asyncio.Event()

    def fire(self) -> None:
        """Wake everyone who waits."""
        self._event.set()
        self._event = asyncio.Event()

    async def wait(self, timeout_s: float) -> bool:
        """Wait for the next `fire`, at most `timeout_s` seconds; return whether it came."""
        try:
            async with asyncio.timeout(timeout_s):
                await self._event.wait()
        except TimeoutError:
            return False
        return True
