"""Files that are written wholly or not at all: temporary file, fsync, rename, fsync of the folder.

Used for everything in a run folder that is not appended to, and by whoever else must survive a
crash. A crash can leave a temporary file behind, never half a file; `sweep` removes those.
"""

import errno
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

from evidence.errors import StorageFull

TEMPORARY_PREFIX = ".writing-"
"""How the names of temporary files and folders begin; nothing else may be called so."""

Phase = Literal["temp", "fsync", "rename"]
"""What of an atomic write has just been done."""

NO_SPACE = frozenset({errno.ENOSPC, errno.EDQUOT})
"""Error numbers that mean that the disk, or the share of it, is full."""


def _go_on(_: Phase) -> None:
    """Do nothing between the phases."""


def write_atomic(path: Path, data: bytes, *, after: Callable[[Phase], None] = _go_on) -> None:
    """Replace the file at `path` by `data`, on the disk when this returns.

    Args:
        path: The file; its folder must be there.
        data: All of its bytes.
        after: Called after each phase; a test may stop the process there.

    Raises:
        StorageFull: There is no space; the old file is as it was, and nothing else is left.
        OSError: It cannot be written for another reason; as above.
    """
    temporary = path.with_name(TEMPORARY_PREFIX + path.name)
    with no_space_as_storage_full(path.name):
        try:
            with temporary.open("wb") as file:
                file.write(data)
                file.flush()
                after("temp")
                os.fsync(file.fileno())
            after("fsync")
            temporary.replace(path)
        except OSError:
            temporary.unlink(missing_ok=True)
            raise
        after("rename")
        fsync_folder(path.parent)


def fsync_folder(path: Path) -> None:
    """Force the names in a folder to the disk.

    Raises:
        OSError: The folder cannot be opened or synced.
    """
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def is_temporary(path: Path) -> bool:
    """Return whether the name of `path` is that of an unfinished file or folder."""
    return path.name.startswith(TEMPORARY_PREFIX)


def sweep(folder: Path) -> list[str]:
    """Remove the temporary files that a crash left in `folder`; return their names.

    Raises:
        OSError: One cannot be removed.
    """
    left = sorted(path for path in folder.iterdir() if is_temporary(path) and path.is_file())
    for path in left:
        path.unlink()
    return [path.name for path in left]


@contextmanager
def no_space_as_storage_full(name: str) -> Iterator[None]:
    """Raise StorageFull for `name` in place of the OSErrors that mean a full disk."""
    try:
        yield
    except OSError as error:
        if error.errno not in NO_SPACE:
            raise
        raise StorageFull(
            f"{name}: the disk is full", found=str(error), cure="free space and resume the run"
        ) from error
