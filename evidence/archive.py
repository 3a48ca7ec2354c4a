"""Packs as readers see them: a folder, or a zip of one; and the zip as it is sent.

A zip comes from a stranger, so it is judged by its directory before a byte is read: no path
tricks, no duplicates, no links, no encryption, bounded count and size. Nothing is extracted.
"""

import io
import os
import stat
import zipfile
import zlib
from collections.abc import Iterable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import IO, BinaryIO, Protocol, cast

from evidence import canonical
from evidence.errors import IntegrityError, InvalidInput, NotFound, TooLarge
from evidence.pack import (
    CHECKPOINTS,
    CONFIG,
    EVENTS,
    JOURNALS,
    MANIFEST,
    STATUS,
    is_sealed,
    list_empty_folders,
    list_files,
)
from evidence.printable import printable
from evidence.zip_layout import require_gapless

MAX_MEMBERS = 100_000
"""Most files in a zip."""

MAX_TOTAL_BYTES = 64 << 30
"""Most bytes of all files of a zip together, uncompressed."""

MAX_FILE_BYTES = 4 << 30
"""Most bytes of one file that `read` takes into memory."""

UNSEALED = "the run is not sealed: it goes on, was interrupted, or failed"
"""What status.json gives as the reason."""

_SIGNS = (CONFIG, EVENTS, MANIFEST)
"""What is at the top of every pack, and at least one of which is there in a damaged one."""

_CHUNK_BYTES = 1 << 20
_EPOCH = (1980, 1, 1, 0, 0, 0)
_COMPRESSIONS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
_ENCRYPTED = 1
_DEFLATE_RATIO = 1032
"""Source: zlib, technical details, "Maximum compression factor"."""


class Pack(Protocol):
    """A pack that can be read; its files do not change meanwhile."""

    name: str
    """What people call it: the last part of its path."""
    files: dict[str, int]
    """Size in bytes of each file, by path within the pack."""
    empty_folders: list[str]
    """Paths of folders in which there is nothing; that for checkpoints may be so."""

    def open(self, path: str) -> BinaryIO:
        """Open one of `files` for reading.

        Raises:
            NotFound: There is no such file.
            IntegrityError: The zip is damaged there.
        """

    def close(self) -> None:
        """Let go of what is held open."""


class FolderPack:
    """A pack that is a folder.

    Raises:
        IntegrityError: There is a link or a special file in it.
        OSError: It cannot be listed.
    """

    def __init__(self, root: Path) -> None:
        self.name = printable(root.resolve().name)
        self.files = _snapshot(root)
        self.empty_folders = list_empty_folders(root)
        self._root = root

    def open(self, path: str) -> BinaryIO:
        """Open a file of the pack."""
        if path not in self.files:
            raise NotFound(f"{self.name}: there is no {path}")
        return (self._root / path).open("rb")

    def close(self) -> None:
        """Do nothing: files are opened one by one."""


class ZipPack:
    """A pack in a zip file.

    Args:
        file: A seekable binary file.
        name: What people call it.
        max_total_bytes: Most bytes of all files together, uncompressed.

    Raises:
        InvalidInput: It is not a zip file.
        IntegrityError: It is a zip that no honest writer makes.
        TooLarge: It has too many files or bytes.
    """

    def __init__(
        self, file: BinaryIO, *, name: str, max_total_bytes: int = MAX_TOTAL_BYTES
    ) -> None:
        self.name = name = printable(name)
        self._file = file
        try:
            self._zip = zipfile.ZipFile(file)
        except (zipfile.BadZipFile, NotImplementedError, ValueError) as error:
            raise InvalidInput(f"{name}: expected a zip file, found: {error}") from error
        members = self._zip.infolist()
        _require_bounded(name, members, max_total_bytes)
        self.files: dict[str, int] = {}
        folders = set()
        for member in members:
            _require_plain(name, member)
            if member.is_dir():
                folders.add(member.filename.rstrip("/"))
                continue
            if member.filename in self.files:
                raise IntegrityError(
                    f"{name}: {printable(member.filename)} stands twice in the zip"
                )
            self.files[member.filename] = member.file_size
        require_gapless(self._zip, file, name=name)
        self.empty_folders = sorted(folders - _with_parents(self.files) - {CHECKPOINTS})

    def open(self, path: str) -> BinaryIO:
        """Open a member of the zip; reading it checks its CRC."""
        if path not in self.files:
            raise NotFound(f"{self.name}: there is no {path}")
        try:
            member = self._zip.open(path)
        except (zipfile.BadZipFile, NotImplementedError, RuntimeError) as error:
            raise IntegrityError(f"{self.name}: {path} cannot be read: {error}") from error
        return cast("BinaryIO", io.BufferedReader(_Member(member, path), _CHUNK_BYTES))

    def close(self) -> None:
        """Close the zip file."""
        self._zip.close()
        self._file.close()


class _Member(io.RawIOBase):
    """A zip member whose damage shows as IntegrityError."""

    def __init__(self, member: IO[bytes], path: str) -> None:
        self._member = member
        self._path = path

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: bytearray | memoryview) -> int:  # type: ignore[override]  # no other buffer comes from BufferedReader
        try:
            data = self._member.read(len(buffer))
        except (zipfile.BadZipFile, zlib.error, EOFError) as error:
            raise IntegrityError(f"{self._path}: the zip is damaged here: {error}") from error
        buffer[: len(data)] = data
        return len(data)

    def close(self) -> None:
        self._member.close()
        super().close()


@contextmanager
def open_pack(path: Path) -> Iterator[Pack]:
    """Hold the pack at `path` open, a folder or a zip file.

    Raises:
        NotFound: There is nothing at `path`.
        InvalidInput: It is neither a folder nor a zip file, or nothing of a pack is at its top.
        IntegrityError: It holds links, or it is a zip with path tricks, duplicates, encryption.
        TooLarge: The zip has too many files or bytes.
        OSError: It cannot be read.
    """
    if not path.exists():
        raise NotFound(f"there is no pack at {printable(str(path))}")
    if path.is_dir():
        names = [entry.name for entry in path.iterdir()]
        _require_sign_of_a_pack(path, names)  # before all that is below is listed
        yield FolderPack(path)
        return
    with path.open("rb") as file, closing(ZipPack(file, name=path.name)) as pack:
        _require_sign_of_a_pack(path, pack.files)
        yield pack


def _require_sign_of_a_pack(path: Path, names: Iterable[str]) -> None:
    if not set(_SIGNS).isdisjoint(names):
        return
    raise InvalidInput(
        f"{printable(str(path))} is not a pack: expected {' or '.join(_SIGNS)} at its top, found "
        "none of them",
        cure="name a run folder, such as var/evidence/training/RUN, or a zip of one",
    )


def read(pack: Pack, path: str) -> bytes:
    """Return the bytes of one file; a journal up to where it ended when the pack was opened.

    Memory is taken for the size that the pack listed, and no more.

    Raises:
        NotFound: There is no such file.
        TooLarge: It has more than MAX_FILE_BYTES.
        IntegrityError: It grew since the pack was opened, or the zip is damaged there.
    """
    size = pack.files.get(path, 0)
    if size > MAX_FILE_BYTES:
        raise TooLarge(f"{path}: expected at most {MAX_FILE_BYTES} bytes, found {size}")
    with pack.open(path) as file:
        data = file.read(size if path in JOURNALS else size + 1)
    if len(data) > size:
        raise IntegrityError(f"{path}: expected {size} bytes, found more: it grew meanwhile")
    return data


def _with_parents(paths: Iterable[str]) -> set[str]:
    """Return paths and the folders that they lie in."""
    return {
        "/".join(parts[:i])
        for parts in (p.split("/") for p in paths)
        for i in range(len(parts) + 1)
    }


def _require_bounded(name: str, members: list[zipfile.ZipInfo], max_total_bytes: int) -> None:
    if len(members) > MAX_MEMBERS:
        raise TooLarge(f"{name}: expected at most {MAX_MEMBERS} files, found {len(members)}")
    total = sum(member.file_size for member in members)
    if total > max_total_bytes:
        raise TooLarge(f"{name}: expected at most {max_total_bytes} bytes, found {total}")


def _require_plain(name: str, member: zipfile.ZipInfo) -> None:
    """Refuse a member that is more than a regular file below the top of the zip."""
    path = member.filename
    parts = path.removesuffix("/").split("/")
    if "\\" in member.orig_filename or "\0" in member.orig_filename:
        raise IntegrityError(f"{name}: {member.orig_filename!r} is not a plain path")
    if any(part in {"", ".", ".."} for part in parts) or ":" in parts[0]:
        raise IntegrityError(f"{name}: {path!r} leads out of the pack")
    kind = stat.S_IFMT(member.external_attr >> 16)
    if kind not in {0, stat.S_IFREG, stat.S_IFDIR}:
        raise IntegrityError(f"{name}: {printable(path)} is a link or a device")
    if member.is_dir() and (member.file_size or member.compress_size):
        raise IntegrityError(f"{name}: {printable(path)} is a folder and holds bytes")
    if member.file_size > _most_bytes(member):
        raise IntegrityError(
            f"{name}: {printable(path)} claims {member.file_size} bytes, more than its "
            f"{member.compress_size} in the zip can give"
        )
    if member.flag_bits & _ENCRYPTED or member.compress_type not in _COMPRESSIONS:
        shown = printable(path)
        raise IntegrityError(f"{name}: {shown} is encrypted, or compressed in an unknown way")


def _most_bytes(member: zipfile.ZipInfo) -> int:
    """Return the most bytes that what is stored of a member can become."""
    if member.compress_type == zipfile.ZIP_STORED:
        return member.compress_size
    return member.compress_size * _DEFLATE_RATIO


class _Spool(io.RawIOBase):
    """A file that cannot seek, and that is emptied while it is written."""

    def __init__(self) -> None:
        self._held = bytearray()

    def writable(self) -> bool:
        return True

    def write(self, data: bytes) -> int:  # type: ignore[override]  # zipfile writes bytes only
        self._held += data
        return len(data)

    def take(self) -> bytes:
        taken = bytes(self._held)
        self._held.clear()
        return taken


def zip_chunks(root: Path) -> Iterator[bytes]:
    """Yield the bytes of a zip of a run folder: stored, in path order, equal for equal files.

    Of a run that goes on, the journals are taken up to where they ended when the zip began, files
    that are pruned meanwhile are left out, and `status.json` stands first and says that the pack
    is not sealed; such a zip never verifies as a pass.

    Raises:
        IntegrityError: There is a link or a special file in the folder.
        OSError: A file cannot be read.
    """
    spool = _Spool()
    sealed = is_sealed(root)
    sizes = _snapshot(root)
    with zipfile.ZipFile(spool, "w", zipfile.ZIP_STORED) as archive:
        if not sealed:
            status = {"v": 1, "sealed": False, "reason": UNSEALED}
            archive.writestr(zipfile.ZipInfo(STATUS, _EPOCH), canonical.encode(status))
        for path, size in sizes.items():
            try:
                file = (root / path).open("rb")
            except FileNotFoundError:
                if sealed:
                    raise
                continue
            with file:
                bound = size if path in JOURNALS else os.fstat(file.fileno()).st_size
                yield from _add(archive, spool, path, file, bound)
    yield spool.take()


def _snapshot(root: Path) -> dict[str, int]:
    """Return the sizes of all files; the metrics are measured before the events they come from."""
    first = {path: size for path in JOURNALS if (size := _size(root / path)) is not None}
    return {path: first.get(path, size) for path, size in list_files(root).items()}


def _size(path: Path) -> int | None:
    return path.stat().st_size if path.is_file() else None


def _add(
    archive: zipfile.ZipFile, spool: _Spool, path: str, file: BinaryIO, size: int
) -> Iterator[bytes]:
    member = zipfile.ZipInfo(path, _EPOCH)
    member.external_attr = (stat.S_IFREG | 0o644) << 16
    member.file_size = size
    with archive.open(member, "w") as target:
        left = size
        while left and (data := file.read(min(left, _CHUNK_BYTES))):
            left -= len(data)
            target.write(data)
            yield spool.take()
    yield spool.take()
