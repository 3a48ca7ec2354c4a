"""Tiles: the parts that the log is stored and served in. Source: C2SP tlog-tiles.

A tile of level L holds the roots of up to 256 neighbouring subtrees of 256**L entries each; a
bundle holds up to 256 neighbouring entries. Full ones never change.
"""

import hashlib
import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

from evidence.errors import IntegrityError, InvalidInput
from evidence.log.merkle import HASH_BYTES, Subtree

WIDTH = 256
"""Hashes or entries of a full tile."""

MAX_ENTRY_BYTES = (1 << 16) - 1
"""A longer entry has no length prefix."""

ENTRIES = "entries"
"""What stands in the path of a bundle in place of the level."""

_HEIGHT = 8
_PREFIX_BYTES = 2
_OF_A_PATH = re.compile(
    rf"tile/(?P<level>{ENTRIES}|0|[1-9][0-9]?)/(?P<index>(?:x[0-9]{{3}}/)*[0-9]{{3}})"
    r"(?:\.p/(?P<width>[1-9][0-9]{0,2}))?",
    re.ASCII,
)
_MOST_LEVELS = 64
_LONGEST_PATH = 100


@dataclass(frozen=True, slots=True)
class Tile:
    """The name of a tile, or of a bundle of entries."""

    level: int | None
    """0 for the leaves, at most 63; None for a bundle of entries."""
    index: int
    """0 for the first of its level."""
    width: int = WIDTH
    """Hashes or entries in it, 1 to 256."""

    @property
    def path(self) -> str:
        """The path below the log's prefix, e.g. tile/0/x001/x234/067.p/12."""
        *first, last = _groups(self.index)
        parts = ["tile", ENTRIES if self.level is None else str(self.level)]
        parts += [*(f"x{group}" for group in first), last]
        return "/".join(parts) + ("" if self.width == WIDTH else f".p/{self.width}")

    @property
    def full(self) -> "Tile":
        """The full tile of the same place."""
        return Tile(self.level, self.index)


def of_path(path: str) -> Tile:
    """Return the tile that a path names; each has one spelling.

    Raises:
        InvalidInput: It names none.
    """
    found = _OF_A_PATH.fullmatch(path) if len(path) <= _LONGEST_PATH else None
    if found is not None:
        level = None if found["level"] == ENTRIES else int(found["level"])
        index = int(found["index"].replace("x", "").replace("/", ""))
        tile = Tile(level, index, int(found["width"] or WIDTH))
        if tile.path == path and (level or 0) < _MOST_LEVELS:
            return tile
    raise InvalidInput(f"expected the path of a tile, found {path[:_LONGEST_PATH]!r}", field="path")


def of_size(size: int, *, since: int = 0) -> Iterator[Tile]:
    """Yield the bundles and tiles of the tree of a size; bundles first, then from level 0 up.

    Args:
        size: Entries of the tree.
        since: Pass over those that the tree of this smaller size has too.
    """
    yield from _of_level(None, size, since)
    level = 0
    while size:
        yield from _of_level(level, size, since)
        level, size, since = level + 1, size // WIDTH, since // WIDTH


def _of_level(level: int | None, count: int, since: int) -> Iterator[Tile]:
    for index in range(since // WIDTH, count // WIDTH):
        yield Tile(level, index)
    if count % WIDTH and count != since:
        yield Tile(level, count // WIDTH, count % WIDTH)


def tile_root(hashes: bytes) -> bytes:
    """Return the root of 2**n neighbouring hashes, concatenated."""
    while len(hashes) > HASH_BYTES:
        pairs = range(0, len(hashes), 2 * HASH_BYTES)
        hashes = b"".join(
            hashlib.sha256(b"\1" + hashes[at : at + 2 * HASH_BYTES]).digest() for at in pairs
        )
    return hashes


def subtrees(size: int, read: Callable[[Tile], bytes]) -> Subtree:
    """Return the subtrees of the tree of `size`, made from its tiles.

    Args:
        size: Entries of the tree.
        read: Returns the bytes of a tile of that tree.

    Raises:
        IntegrityError: When called: a tile has another length than its name says.
    """

    def subtree(height: int, index: int) -> bytes:
        level, inner = divmod(height, _HEIGHT)
        at_tile, offset = divmod(index << inner, WIDTH)
        width = min(WIDTH, (size >> _HEIGHT * level) - at_tile * WIDTH)
        tile = Tile(level, at_tile, width)
        data = read(tile)
        if len(data) != width * HASH_BYTES:
            raise IntegrityError(
                f"{tile.path}: expected {width * HASH_BYTES} bytes, found {len(data)}"
            )
        return tile_root(data[offset * HASH_BYTES : (offset + (1 << inner)) * HASH_BYTES])

    return subtree


def bundle(entries: Iterable[bytes]) -> bytes:
    """Return the bytes of a bundle: each entry behind its length as a big-endian uint16."""
    return b"".join(len(entry).to_bytes(_PREFIX_BYTES, "big") + entry for entry in entries)


def split_bundle(data: bytes, *, name: str) -> list[bytes]:
    """Return the entries of a bundle; `name` is what errors call it.

    Raises:
        IntegrityError: It ends within an entry.
    """
    entries: list[bytes] = []
    at = 0
    while at < len(data):
        begin = at + _PREFIX_BYTES
        end = begin + int.from_bytes(data[at:begin], "big")
        if begin > len(data) or end > len(data):
            raise IntegrityError(f"{name}: the bundle ends within entry {len(entries)} of it")
        entries.append(data[begin:end])
        at = end
    return entries


def first_of_bundle(data: bytes, width: int, *, name: str) -> bytes:
    """Return the narrower bundle that `data` begins with.

    Raises:
        IntegrityError: It has fewer entries.
    """
    entries = split_bundle(data, name=name)[:width]
    if len(entries) < width:
        raise IntegrityError(f"{name}: expected {width} entries, found {len(entries)}")
    return bundle(entries)


def _groups(index: int) -> list[str]:
    digits = str(index)
    digits = digits.zfill(-(-len(digits) // 3) * 3)
    return [digits[at : at + 3] for at in range(0, len(digits), 3)]


def require_entry(entry: bytes) -> None:
    """Raise unless an entry fits a bundle.

    Raises:
        InvalidInput: It is longer than 65,535 bytes.
    """
    if len(entry) > MAX_ENTRY_BYTES:
        raise InvalidInput(
            f"entry: expected at most {MAX_ENTRY_BYTES} bytes, found {len(entry)}",
            field="entry",
            expected=f"at most {MAX_ENTRY_BYTES}",
            found=str(len(entry)),
        )
