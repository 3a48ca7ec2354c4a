"""The group of workers on one node: terms in shared memory, words through Unix sockets.

Worker 0 makes the memory, a file without a name, and hands it on; so whatever dies leaves nothing
behind. A word from everyone is the barrier too. Whoever dies closes its socket, and the others find
that at once.

    row 0 .. size-1    the terms of each worker
    row size           the sums; each worker adds up its stretch of it
"""

import os
import socket
import struct
import tempfile
import time
from collections.abc import Sequence
from mmap import mmap
from pathlib import Path

import numpy as np

from evidence.errors import StorageFull, TrainerLost
from trainers.group import sum_in_order

_SOCKET = "group"
_LENGTH = struct.Struct("<I")
_FLOAT_BYTES = 4
_MEET_S = 300.0
_RETRY_S = 0.02
_SILENCE_S = 900.0
"""Longest silence of a worker that lives: kernels compiled, an evaluation, a manager away."""
_SHARED = Path("/dev/shm")  # noqa: S108 - Linux's file system in memory; files here get no name


class SharedMemoryGroup:
    """One worker of a group on one node.

    Args:
        folder: An empty folder of the group, private to this user, its path at most 90 bytes long;
            it is removed when all have come.
        rank: This worker.
        size: How many there are; all must come within 5 minutes.

    Raises:
        TrainerLost: Another worker did not come.
    """

    def __init__(self, folder: Path, *, rank: int, size: int) -> None:
        self.rank = rank
        self.size = size
        path = folder / _SOCKET
        self._links = _accepted(path, size - 1) if rank == 0 else [_connected(path, rank)]
        self._rows = np.empty((0, 0), np.float32)

    def share(self, count: int) -> tuple[np.ndarray, np.ndarray]:
        """Return this worker's terms and where the sums go; see `trainers.group.Group`."""
        file = self._file((self.size + 1) * count * _FLOAT_BYTES)
        try:
            memory = mmap(file, 0)
        finally:
            os.close(file)
        self._rows = np.frombuffer(memory, np.float32).reshape(self.size + 1, count)
        return self._rows[self.rank], self._rows[self.size]

    def add_up(self) -> None:
        """Make the sums, each worker a stretch of them; see `trainers.group.Group`."""
        self.gather(b"")  # all terms are there
        count = self._rows.shape[1]
        stretch = slice(count * self.rank // self.size, count * (self.rank + 1) // self.size)
        terms = self._rows[: self.size, stretch]
        sum_in_order(list(terms), into=self._rows[self.size, stretch])
        self.gather(b"")  # all sums are there

    def gather(self, word: bytes) -> Sequence[bytes]:
        """Return the word that each worker says; see `trainers.group.Group`."""
        if self.rank == 0:
            words = [word, *(_heard(link, rank) for rank, link in enumerate(self._links, 1))]
            for rank, link in enumerate(self._links, 1):
                for one in words:
                    _say(link, one, rank)
            return words
        (link,) = self._links
        _say(link, word, 0)
        return [_heard(link, 0) for _ in range(self.size)]

    def close(self) -> None:
        """Leave the group, as the end of the process does; the others find this worker gone."""
        for link in self._links:
            link.close()

    def _file(self, size: int) -> int:
        """Return the descriptor of the memory: made by worker 0, handed to the others."""
        if self.rank > 0:
            (link,) = self._links
            _, files, _, _ = socket.recv_fds(link, 1, 1)
            if not files:
                raise _lost(0)
            return files[0]
        file = _made(size)
        for rank, link in enumerate(self._links, 1):
            try:
                socket.send_fds(link, [b"m"], [file])
            except OSError as error:
                raise _lost(rank) from error
        return file


def _made(size: int) -> int:
    """Return a file of `size` bytes of zeros without a name, in memory where the system can."""
    folder = _SHARED if _SHARED.is_dir() else None
    with tempfile.TemporaryFile(dir=folder) as made:
        try:
            if hasattr(os, "posix_fallocate"):  # else a full disk would be a signal later
                os.posix_fallocate(made.fileno(), 0, size)
            else:
                made.truncate(size)
        except OSError as error:
            raise StorageFull(f"shared memory of {size} bytes: {error.strerror}") from error
        return os.dup(made.fileno())


def _accepted(path: Path, count: int) -> list[socket.socket]:
    """Return the links to workers 1 to `count`, in that order."""
    links: dict[int, socket.socket] = {}
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as door:
        door.bind(str(path))
        door.listen(count)
        door.settimeout(_MEET_S)
        while len(links) < count:
            try:
                link, _ = door.accept()
            except TimeoutError as error:
                missing = next(rank for rank in range(1, count + 1) if rank not in links)
                raise _lost(missing) from error
            link.settimeout(_SILENCE_S)
            links[int.from_bytes(link.recv(1))] = link
    path.unlink()
    path.parent.rmdir()
    return [links[rank] for rank in range(1, count + 1)]


def _connected(path: Path, rank: int) -> socket.socket:
    """Return the link to worker 0, as soon as it is there."""
    link = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    deadline = time.monotonic() + _MEET_S
    while True:
        try:
            link.connect(str(path))
        except (FileNotFoundError, ConnectionRefusedError) as error:  # not there yet
            if time.monotonic() >= deadline:
                raise _lost(0) from error
            time.sleep(_RETRY_S)
        else:
            link.settimeout(_SILENCE_S)
            link.sendall(rank.to_bytes())
            return link


def _say(link: socket.socket, word: bytes, rank: int) -> None:
    try:
        link.sendall(_LENGTH.pack(len(word)) + word)
    except OSError as error:
        raise _lost(rank) from error


def _heard(link: socket.socket, rank: int) -> bytes:
    (length,) = _LENGTH.unpack(_bytes(link, _LENGTH.size, rank))
    return _bytes(link, length, rank)


def _bytes(link: socket.socket, count: int, rank: int) -> bytes:
    got = b""
    while len(got) < count:
        try:
            more = link.recv(count - len(got))
        except OSError as error:
            raise _lost(rank) from error
        if not more:
            raise _lost(rank)
        got += more
    return got


def _lost(rank: int) -> TrainerLost:
    return TrainerLost(f"worker {rank} is gone")
