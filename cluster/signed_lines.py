"""A file of signed statements that grows: a line is signed, on the disk, then in the log.

The file and the log take the same bytes once, so what a crash leaves between them is mended by
entering the lines again.
"""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from cluster.notary import Notary
from evidence import canonical
from evidence.errors import InvalidInput
from evidence.files import fsync_folder, no_space_as_storage_full


class SignedLines:
    """The one writer of such a file.

    Args:
        path: The file; it is made with its first line.
        notary: Signs and logs.
    """

    def __init__(self, path: Path, notary: Notary) -> None:
        self._path = path
        self._notary = notary
        self.lines = _whole_lines(path)
        """The envelopes so far, without their newlines, the oldest first."""

    def add(self, statement: Mapping[str, Any]) -> int:
        """Sign a statement, write it and log it; return its place in the log.

        Raises:
            StorageFull: The disk took no more; the file is as it was, or the log lacks the line
                until `mend`.
        """
        envelope = self._notary.sign(statement)
        is_new = not self._path.exists()
        size = sum(len(line) + 1 for line in self.lines)
        with no_space_as_storage_full(self._path.name), self._path.open("ab", buffering=0) as file:
            try:
                os.ftruncate(file.fileno(), size)  # what a crash left of a line
                _write_whole(file.fileno(), envelope + b"\n")
                os.fsync(file.fileno())
            except OSError:
                os.ftruncate(file.fileno(), size)
                raise
        if is_new:
            fsync_folder(self._path.parent)
        self.lines.append(envelope)
        (place,) = self._notary.enter([envelope])
        return place

    def mend(self) -> None:
        """Log what a crash or a full disk kept from being logged.

        Raises:
            StorageFull: The disk took no more.
        """
        if self.lines:
            self._notary.enter(self.lines)


def _write_whole(descriptor: int, data: bytes) -> None:
    while data:
        data = data[os.write(descriptor, data) :]


def _whole_lines(path: Path) -> list[bytes]:
    """Return the lines of a file, without a last one that a crash left incomplete."""
    if not path.exists():
        return []
    lines = path.read_bytes().split(b"\n")
    lines.pop()
    while lines and not _is_json(lines[-1]):  # a crash of the machine can leave zeros
        lines.pop()
    return lines


def _is_json(line: bytes) -> bool:
    try:
        canonical.decode_canonical(line)
    except InvalidInput:
        return False
    return True
