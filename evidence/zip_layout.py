"""Where the bytes of a zip file lie: one member after another, the directory, its end, no more.

A zip reader follows the directory and passes over whatever lies elsewhere: before the first member,
between two, behind the last, in comments. Bytes there would travel with a pack and be seen by
nobody. Not looked at are the members' extra fields, times and attributes.

Source: APPNOTE.TXT 6.3.10, §4.3 (PKWARE).
"""

import struct
from collections.abc import Iterator
from itertools import pairwise
from typing import BinaryIO
from zipfile import ZipFile, ZipInfo

from evidence.errors import IntegrityError

_LOCAL_HEADER_BYTES = 30
_DIRECTORY_HEADER_BYTES = 46
_END_BYTES = (22, 56 + 20 + 22)
"""The end record; with zip64, its record and its locator before it."""
_HAS_DESCRIPTOR = 1 << 3
_IS_UTF_8 = 1 << 11


def require_gapless(archive: ZipFile, file: BinaryIO, *, name: str) -> None:
    """Raise unless every byte of a zip file belongs to a member or to the directory.

    Args:
        archive: The zip, its directory read.
        file: The same file.
        name: What errors call it.

    Raises:
        IntegrityError: There are other bytes.
    """
    members = sorted(archive.infolist(), key=lambda member: member.header_offset)
    places = [member.header_offset for member in members] + [archive.start_dir]
    if places[0] != 0:
        raise _stray(name, "before its first member")
    for member, (start, end) in zip(members, pairwise(places), strict=True):
        if not _fills(file, member, start, end):
            raise _stray(name, f"behind the member at byte {start}")
    if archive.comment or any(member.comment for member in members):
        raise _stray(name, "in a comment")
    if file.seek(0, 2) - archive.start_dir - _directory_bytes(members) not in _END_BYTES:
        raise _stray(name, "in or behind its directory")


def _stray(name: str, where: str) -> IntegrityError:
    return IntegrityError(f"{name}: there are bytes {where} that belong to no file of the pack")


def _fills(file: BinaryIO, member: ZipInfo, start: int, end: int) -> bool:
    """Return whether a member takes exactly the bytes from `start` to `end`."""
    file.seek(start)
    header = file.read(_LOCAL_HEADER_BYTES)
    if len(header) < _LOCAL_HEADER_BYTES:
        return False
    name_bytes, extra_bytes = struct.unpack("<HH", header[-4:])
    data_end = start + _LOCAL_HEADER_BYTES + name_bytes + extra_bytes + member.compress_size
    if not member.flag_bits & _HAS_DESCRIPTOR:
        return bool(data_end == end)
    if not 0 < end - data_end <= max(map(len, _descriptors(member))):
        return False
    file.seek(data_end)
    return file.read(end - data_end) in _descriptors(member)


def _descriptors(member: ZipInfo) -> Iterator[bytes]:
    """Yield the spellings of the data descriptor of a member."""
    for sizes in ("<LLL", "<LQQ"):
        try:
            plain = struct.pack(sizes, member.CRC, member.compress_size, member.file_size)
        except struct.error:  # the sizes need 64 bits
            continue
        yield plain
        yield b"PK\x07\x08" + plain


def _directory_bytes(members: list[ZipInfo]) -> int:
    return sum(
        _DIRECTORY_HEADER_BYTES
        + len(member.orig_filename.encode("utf-8" if member.flag_bits & _IS_UTF_8 else "cp437"))
        + len(member.extra)
        for member in members
    )
