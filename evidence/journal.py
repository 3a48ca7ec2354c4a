"""Append-only JSON Lines, hash-chained: each line names the SHA-256 of the line before it.

A line is canonical JSON with `v` (format version), `seq` (1, 2, 3, ...), `prev` and the record's
own fields. `prev` of line 1 is the journal's genesis digest. A crash can tear only the last line;
`recover` cuts it and says so. Anything else that does not fit is a BrokenChain, never repaired.
"""

import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Protocol, Self

from evidence import canonical, digest
from evidence.errors import BrokenChain, InvalidInput, ServiceError
from evidence.files import fsync_folder, no_space_as_storage_full

VERSION = 1
"""Format version, field `v` of every line."""

MAX_LINE_BYTES = 1 << 20
"""A longer line is refused by writer and reader."""


@dataclass(frozen=True, slots=True)
class Line:
    """One line of a journal."""

    number: int
    """1 for the first line of the file."""
    data: bytes
    """The canonical JSON, without the newline."""
    record: dict[str, Any]
    """The decoded line, with `v`, `seq`, `prev`."""

    @property
    def sha256(self) -> str:
        """What the next line's `prev` must be."""
        return digest.of_bytes(self.data)


class LineSource(Protocol):
    """An open file, as far as reading a journal asks."""

    def readline(self, limit: int, /) -> bytes:
        """Return the next line with its newline, or `limit` bytes of it, or nothing at the end."""


@dataclass(frozen=True, slots=True)
class Torn:
    """A last line that a crash left incomplete, and that was cut."""

    offset: int
    """Where it began, in bytes."""
    data: bytes
    """What stood there."""


def read(path: Path, *, genesis: str) -> Iterator[Line]:
    """Yield the lines of a whole journal, each checked against the one before.

    Raises:
        BrokenChain: A line is torn, not canonical, out of sequence, or follows another line.
        OSError: The file cannot be read.
    """
    with path.open("rb") as file:
        yield from read_stream(file, name=path.name, genesis=genesis)


def read_stream(file: LineSource, *, name: str, genesis: str) -> Iterator[Line]:
    """Yield the lines of a journal that is open already; `name` is what errors call it.

    Raises:
        BrokenChain: As for `read`.
        OSError: The file cannot be read.
    """
    previous, seq = genesis, 0
    for number, data in enumerate(iter(lambda: file.readline(MAX_LINE_BYTES + 2), b""), 1):
        if not data.endswith(b"\n"):
            raise BrokenChain(f"{name}, line {number}: the line has no end")
        line = parse_line(data[:-1], number, name=name)
        _require_follows(f"{name}, line {number}", line.record, previous=previous, seq=seq)
        previous, seq = line.sha256, line.record["seq"]
        yield line


def parse_line(data: bytes, number: int, *, name: str) -> Line:
    """Return one line by itself, without its newline; what it follows is not looked at.

    Raises:
        BrokenChain: It is not canonical JSON of this format version.
    """
    place = f"{name}, line {number}"
    try:
        record = canonical.decode_canonical(data)
    except InvalidInput as error:
        raise BrokenChain(f"{place}: {error.detail}") from error
    if record.get("v") != VERSION:
        raise BrokenChain(f"{place}: expected format version {VERSION}, found {record.get('v')!r}")
    return Line(number, data, record)


def _require_follows(place: str, record: Mapping[str, Any], *, previous: str, seq: int) -> None:
    """Raise BrokenChain unless the line names the line before it, and its number grows."""
    if record.get("prev") != previous:
        raise BrokenChain(
            f"{place}: stores prev {record.get('prev')!r}, "
            f"but the line before it has SHA-256 {previous}",
            expected=previous,
            found=str(record.get("prev")),
        )
    found = record.get("seq")
    if not isinstance(found, int) or isinstance(found, bool) or found <= seq:
        raise BrokenChain(f"{place}: expected a seq above {seq}, found {found!r}")


def recover(path: Path) -> Torn | None:
    """Cut a torn last line, if there is one; a journal that is whole is not touched.

    Torn means: no newline at its end, or a last line that is not JSON (a crash of the machine can
    leave zeros there).

    Raises:
        OSError: The file cannot be read or cut.
    """
    data = path.read_bytes()
    end = len(data) if data.endswith(b"\n") else data.rfind(b"\n") + 1
    last = data[:end].rstrip(b"\n").rfind(b"\n") + 1
    if end == len(data) and (not data or _is_json(data[last:end])):
        return None
    cut = end if end < len(data) else last
    with path.open("r+b") as file:
        file.truncate(cut)
        os.fsync(file.fileno())
    return Torn(cut, data[cut:])


def _is_json(data: bytes) -> bool:
    try:
        canonical.decode_object(data)
    except InvalidInput:
        return False
    return True


def _pass_over(_: Line) -> None:
    """Take no notice of a line."""


class Journal:
    """The one writer of a journal file.

    Args:
        path: The file; made if it is not there. Call `recover` on an existing one first.
        genesis: `prev` of the first line.
        owns_sequence: Whether `append` numbers the lines 1, 2, 3, ...; a derived journal passes
            the `seq` of the journal that owns it.
        fsync_every: Lines after which data is forced to the disk; `sync` does it at once.
        each: Called with every line that is there already, oldest first.

    Raises:
        BrokenChain: The existing file is not whole.
        OSError: The file cannot be opened.
    """

    def __init__(
        self,
        path: Path,
        *,
        genesis: str,
        owns_sequence: bool = True,
        fsync_every: int = 64,
        each: Callable[[Line], None] = _pass_over,
    ) -> None:
        self.path = path
        self.lines = 0
        self.last_sha256 = genesis
        self.last_seq = 0
        self._owns_sequence = owns_sequence
        self._fsync_every = fsync_every
        self._unsynced = 0
        if path.exists():
            for line in read(path, genesis=genesis):
                self._advance(line)
                each(line)
        is_new = not path.exists()
        self._file = path.open("ab", buffering=0)
        self._size = path.stat().st_size
        if is_new:
            fsync_folder(path.parent)

    def append(self, record: Mapping[str, Any]) -> Line:
        """Write one record as the next line: wholly, or not at all.

        Raises:
            InvalidInput: The record is not JSON, is too long, or lacks a growing `seq` where this
                journal does not number its lines.
            StorageFull: The disk took no more; the file is as it was.
            OSError: The disk failed otherwise; the file is as it was.
        """
        seq = self.last_seq + 1 if self._owns_sequence else record.get("seq")
        if not isinstance(seq, int) or seq <= self.last_seq:
            raise InvalidInput(f"expected a seq above {self.last_seq}, found {seq!r}", field="seq")
        full = {**record, "v": VERSION, "seq": seq, "prev": self.last_sha256}
        data = canonical.encode(full)
        if len(data) > MAX_LINE_BYTES:
            raise InvalidInput(f"expected at most {MAX_LINE_BYTES} bytes a line, found {len(data)}")
        self._write(data + b"\n")
        line = Line(self.lines + 1, data, full)
        self._advance(line)
        return line

    def sync(self) -> None:
        """Force what was written to the disk.

        Raises:
            StorageFull: The disk took no more.
            OSError: The disk failed otherwise.
        """
        if not self._unsynced:
            return
        with no_space_as_storage_full(self.path.name):
            os.fsync(self._file.fileno())
        self._unsynced = 0

    def close(self) -> None:
        """Sync and close the file."""
        self.sync()
        self._file.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def _write(self, data: bytes) -> None:
        """Write one line, and sync when it is time; on an error the line is taken back."""
        written = 0
        with no_space_as_storage_full(self.path.name):
            try:
                while written < len(data):
                    written += self._file.write(data[written:]) or 0
                self._unsynced += 1
                if self._unsynced >= self._fsync_every:
                    self.sync()
            except (OSError, ServiceError):
                os.ftruncate(self._file.fileno(), self._size)
                raise
        self._size += written

    def _advance(self, line: Line) -> None:
        seq = line.record["seq"]
        if self._owns_sequence and seq != self.last_seq + 1:
            raise BrokenChain(
                f"{self.path.name}, line {line.number}: expected seq {self.last_seq + 1}, "
                f"found {seq}"
            )
        self.last_seq = seq
        self.last_sha256 = line.sha256
        self.lines = line.number
