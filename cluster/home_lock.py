"""One manager a home: a lock on a file there, which the system lets go when its process ends."""

import fcntl
from pathlib import Path
from typing import IO

from evidence.errors import Conflict

FILE = "manager.lock"


def hold(home: Path) -> IO[bytes]:
    """Return the locked file; the lock lasts until it is closed or this process ends.

    Raises:
        Conflict: Another manager writes to this home.
        OSError: The file cannot be opened.
    """
    file = (home / FILE).open("wb")
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        file.close()
        raise Conflict(
            f"another manager writes to {home}",
            cure="one service a home: stop the other one, or set another ZEROPOINT_HOME",
        ) from error
    return file
