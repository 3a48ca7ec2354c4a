"""One manager a home: a lock on a file there, which the system lets go when its process ends."""

from pathlib import Path
from typing import IO

from evidence import lock

FILE = "manager.lock"


def hold(home: Path) -> IO[bytes]:
    """Return the locked file; the lock lasts until it is closed or this process ends.

    Raises:
        Conflict: Another manager writes to this home.
        OSError: The file cannot be opened.
    """
    return lock.hold(
        home / FILE,
        refusal=f"another manager writes to {home}",
        cure="one service a home: stop the other one, or set another ZEROPOINT_HOME",
    )
