"""The hashes of a log in memory: its leaves, the roots of full tiles, and who was first.

32 bytes an entry and a 255th more, and a table of 8 to 16 bytes an entry: open-addressed, a slot
holds the number of an entry plus one, and the hash that decides lies in the leaves.
"""

from array import array

from evidence.log import tiles
from evidence.log.merkle import HASH_BYTES
from evidence.log.tiles import WIDTH, Tile

_FIRST_SLOTS = 1 << 10
_SLOT_BYTES = 4
_KEY_BYTES = 8
_MOST_ENTRIES = (1 << 32) - 2
_TILE_BYTES = WIDTH * HASH_BYTES


class Hashes:
    """Leaf hashes in order, the first place of each, and the tiles above them."""

    def __init__(self) -> None:
        self._levels = [bytearray()]
        self._slots = _table(_FIRST_SLOTS)

    def __len__(self) -> int:
        """Return the number of entries."""
        return len(self._levels[0]) // HASH_BYTES

    def find(self, leaf: bytes) -> int | None:
        """Return the index of the first entry with this leaf hash."""
        number = self._slots[self._slot(leaf)]
        return number - 1 if number else None

    def leaf(self, index: int) -> bytes:
        """Return the leaf hash of an entry that is there."""
        return bytes(self._levels[0][index * HASH_BYTES : (index + 1) * HASH_BYTES])

    def append(self, leaf: bytes) -> None:
        """Add the next leaf hash; one that is there already keeps its first place.

        Raises:
            OverflowError: There are as many as the table can count.
        """
        if len(self) == _MOST_ENTRIES:
            raise OverflowError(f"a log holds at most {_MOST_ENTRIES} entries")
        if 2 * (len(self) + 1) > len(self._slots):
            self._grow()
        slot = self._slot(leaf)
        self._levels[0] += leaf
        if not self._slots[slot]:
            self._slots[slot] = len(self)
        self._complete(0)

    def tile(self, tile: Tile) -> bytes:
        """Return the bytes of a tile of hashes that the tree has, or of its beginning."""
        assert tile.level is not None
        begin = tile.index * _TILE_BYTES
        return bytes(self._levels[tile.level][begin : begin + tile.width * HASH_BYTES])

    def _complete(self, level: int) -> None:
        """Put the root of a tile that has just become full into the level above."""
        hashes = self._levels[level]
        if len(hashes) % _TILE_BYTES:
            return
        if level + 1 == len(self._levels):
            self._levels.append(bytearray())
        self._levels[level + 1] += tiles.tile_root(bytes(hashes[-_TILE_BYTES:]))
        self._complete(level + 1)

    def _slot(self, leaf: bytes) -> int:
        """Return the slot of a leaf hash, or the free one where it belongs."""
        mask = len(self._slots) - 1
        slot = int.from_bytes(leaf[:_KEY_BYTES], "little") & mask
        while (number := self._slots[slot]) and self.leaf(number - 1) != leaf:
            slot = (slot + 1) & mask
        return slot

    def _grow(self) -> None:
        old, self._slots = self._slots, _table(2 * len(self._slots))
        for number in sorted(filter(None, old)):
            self._slots[self._slot(self.leaf(number - 1))] = number


def _table(slots: int) -> "array[int]":
    return array("I", bytes(_SLOT_BYTES * slots))
