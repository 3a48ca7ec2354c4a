"""One writer a folder: a lock on a file, which the system lets go when its process ends."""

import fcntl
from pathlib import Path
from typing import IO

from evidence.errors import Conflict


def hold(path: Path, *, refusal: str, cure: str) -> IO[bytes]:
    """Return the locked file; the lock lasts until it is closed or this process ends.

    Args:
        path: The file, made if it is not there; it stays empty.
        refusal: What to say where somebody holds it, in one sentence.
        cure: What the reader can do about it.

    Raises:
        Conflict: Another one holds it.
        OSError: The file cannot be opened.
    """
    file = path.open("ab")
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        file.close()
        raise Conflict(refusal, cure=cure) from error
    return file
