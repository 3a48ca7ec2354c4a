"""Files larger than memory: hashed once as a whole, read in pieces that are checked each time.

The first pass gives the SHA-256 of the file, which must be the published one, and a digest of each
block; a read verifies the blocks that it touches. So a file that is changed while a run goes on is
found out, not trained on.
"""

import hashlib
import os
import weakref
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from evidence import digest
from evidence.errors import DigestMismatch

_BLOCK_BYTES = 4096
_DIGEST_BYTES = 16
"""Of SHA-256, cut: 0.4 % of the file's size in memory."""


class VerifiedFile:
    """A file with the published digest.

    Args:
        path: Where it lies; it stays open.
        name: For messages.
        sha256: What its bytes have to be.

    Raises:
        DigestMismatch: They are others.
        OSError: It cannot be read.
    """

    def __init__(self, path: Path, *, name: str, sha256: str) -> None:
        self._name = name
        self._file = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        weakref.finalize(self, os.close, self._file)
        whole, blocks = hashlib.sha256(), bytearray()
        while block := os.read(self._file, _BLOCK_BYTES):
            whole.update(block)
            blocks += _short(block)
        digest.require_equal(name, expected=sha256, found=whole.hexdigest())
        self._blocks = bytes(blocks)
        self.size = os.fstat(self._file).st_size
        """Bytes."""

    def gather(self, starts: np.ndarray, *, length: int) -> np.ndarray:
        """Return `length` bytes from each start, (n, length), uint8.

        Raises:
            DigestMismatch: A block is no longer what was hashed.
            OSError: It cannot be read.
        """
        pieces = [self._read(int(start), length) for start in starts]
        return np.frombuffer(b"".join(pieces), np.uint8).reshape(len(pieces), length)

    def _read(self, start: int, length: int) -> bytes:
        first, last = start // _BLOCK_BYTES, (start + length - 1) // _BLOCK_BYTES
        offset = first * _BLOCK_BYTES
        data = os.pread(self._file, (last + 1) * _BLOCK_BYTES - offset, offset)
        for block in range(first, last + 1):
            at = (block - first) * _BLOCK_BYTES
            expected = self._blocks[block * _DIGEST_BYTES :][:_DIGEST_BYTES]
            if (found := _short(data[at : at + _BLOCK_BYTES])) != expected:
                where = f"{self._name}, bytes {block * _BLOCK_BYTES} and on"
                raise DigestMismatch(
                    f"{where}: expected SHA-256 {expected.hex()}..., found {found.hex()}...; "
                    "the file was changed after it had been verified",
                    expected=expected.hex(),
                    found=found.hex(),
                )
        return data[start - offset :][:length]


class Streamed:
    """Records of one length in several files, as an array that is read where it is indexed.

    Args:
        files: In order of the records.
        header: Bytes before a file's first record.
        stride: Bytes from a record to the next.
        offset: Bytes of a record before what is wanted of it.
        shape: Of what is wanted of a record.
    """

    def __init__(
        self,
        files: Sequence[VerifiedFile],
        *,
        header: int = 0,
        stride: int,
        offset: int = 0,
        shape: tuple[int, ...],
    ) -> None:
        self._files = tuple(files)
        self._header, self._stride, self._offset = header, stride, offset
        self._shape = shape
        self._ends = np.cumsum([(file.size - header) // stride for file in files])

    def __len__(self) -> int:
        """Return the number of records."""
        return int(self._ends[-1])

    def __getitem__(self, chosen: np.ndarray | slice) -> np.ndarray:
        """Return the records of these numbers, (n, *shape), uint8."""
        if isinstance(chosen, slice):
            chosen = np.arange(*chosen.indices(len(self)))
        length = int(np.prod(self._shape))
        out = np.empty((len(chosen), length), np.uint8)
        file_of = np.searchsorted(self._ends, chosen, side="right")
        for i, file in enumerate(self._files):
            here = np.flatnonzero(file_of == i)
            before = self._ends[i - 1] if i else 0
            starts = self._header + (chosen[here] - before) * self._stride + self._offset
            if len(here):
                out[here] = file.gather(starts, length=length)
        return out.reshape(len(chosen), *self._shape)


class StreamedText:
    """The first bytes of a file, one token each, read where a window is asked for."""

    def __init__(self, file: VerifiedFile, *, size: int) -> None:
        self._file = file
        self._size = size

    def __len__(self) -> int:
        """Return the number of tokens."""
        return self._size

    def windows(self, starts: np.ndarray, *, length: int) -> np.ndarray:
        """Return `length` tokens from each start, (n, length), uint8."""
        return self._file.gather(starts, length=length)


def _short(block: bytes) -> bytes:
    return hashlib.sha256(block).digest()[:_DIGEST_BYTES]
