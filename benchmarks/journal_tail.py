"""A reader of a growing journal file, as both servers of `fanout` use it. Standard library only."""

import asyncio
from pathlib import Path

_POLL_S = 0.002


class JournalTail:
    """Gives the lines of a file after a sequence number, which is a line number.

    Args:
        path: The file; it is there, and only grows; a last line without its end is not given yet.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._offsets = [0]

    async def read(self, after: int, limit: int, wait_s: float) -> list[bytes]:
        """Return at most `limit` lines after line `after`; wait up to `wait_s` for the first."""
        deadline = asyncio.get_running_loop().time() + wait_s
        while not (lines := self._lines(after, limit)):
            if asyncio.get_running_loop().time() >= deadline:
                break
            await asyncio.sleep(_POLL_S)
        return lines

    def _lines(self, after: int, limit: int) -> list[bytes]:
        if len(self._offsets) - 1 <= after:
            self._look_for_more()
        last = min(after + limit, len(self._offsets) - 1)
        if last <= after:
            return []
        with self._path.open("rb") as file:
            file.seek(self._offsets[after])
            return file.read(self._offsets[last] - self._offsets[after]).splitlines()

    def _look_for_more(self) -> None:
        with self._path.open("rb") as file:
            file.seek(self._offsets[-1])
            for line in file:
                if not line.endswith(b"\n"):
                    break  # it is being written
                self._offsets.append(self._offsets[-1] + len(line))
