"""Opening a log: the entries are the truth, and everything else must follow from them.

A crash leaves nothing but whole files: hash tiles that are missing are made again, partial tiles
whose place a wider one took are removed. Anything else is refused, with the file's name.
"""

from collections.abc import Collection, Iterable
from pathlib import Path

from evidence.errors import IntegrityError, InvalidInput
from evidence.log import folder, merkle, tiles
from evidence.log.folder import CHECKPOINT
from evidence.log.hashes import Hashes
from evidence.log.tiles import WIDTH, Tile
from evidence.log.tree_head import SignedTreeHead

_BACKUP = "bring the folder back from a copy; a log that lost entries must not go on"
_AGAIN = "if the entries are right, remove this file: it is made again from them"


def load(root: Path) -> tuple[Hashes, list[bytes]]:
    """Return the hashes of a log and the entries of its last, partial bundle.

    What a crash left is mended.

    Raises:
        IntegrityError: A file is damaged, missing or foreign.
        StorageFull: There is no space for what has to be made again.
        OSError: A file cannot be read or written.
    """
    found = folder.listed(root)
    bundles = _bundles({tile for tile in found if tile.level is None})
    hashes, tail = Hashes(), []
    for bundle in bundles:
        entries = _entries_of(root, bundle)
        for entry in entries:
            hashes.append(merkle.leaf_hash(entry))
        tail = entries if bundle.width < WIDTH else []
    expected = set(tiles.of_size(len(hashes)))
    _require_within(found - expected, expected, size=len(hashes))
    for tile in tiles.of_size(len(hashes)):
        if tile.level is not None:
            _make_or_compare(root, tile, hashes.tile(tile), is_there=tile in found)
    for tile in expected:
        folder.clear_outgrown(root, tile)
    return hashes, tail


def load_head(root: Path, hashes: Hashes) -> SignedTreeHead | None:
    """Return the last tree head that was signed, which must be of this log.

    Raises:
        IntegrityError: It is malformed, or the log no longer has what it says.
        OSError: It cannot be read.
    """
    path = root / CHECKPOINT
    if not path.exists():
        return None
    try:
        signed = SignedTreeHead.parse(path.read_bytes())
    except InvalidInput as error:
        raise IntegrityError(f"{CHECKPOINT}: {error.detail}", cure=_BACKUP) from error
    size = signed.head.size
    if size > len(hashes):
        raise IntegrityError(
            f"{CHECKPOINT}: {size} entries were signed, but {len(hashes)} are there",
            expected=f"at least {size}",
            found=str(len(hashes)),
            cure=_BACKUP,
        )
    if merkle.root(size, tiles.subtrees(size, hashes.tile)) != signed.head.root:
        raise IntegrityError(
            f"{CHECKPOINT}: the first {size} entries have another root than was signed",
            cure=_BACKUP,
        )
    return signed


def _bundles(found: Collection[Tile]) -> list[Tile]:
    """Return the bundles in order: full ones without a gap, then the widest partial one."""
    full = {tile.index for tile in found if tile.width == WIDTH}
    count = next(index for index in range(len(full) + 1) if index not in full)
    beyond = [tile for tile in found if tile.index > count]
    if beyond:
        missing, last = Tile(None, count), max(beyond, key=lambda tile: tile.index)
        raise IntegrityError(f"{missing.path}: is missing, but {last.path} is there", cure=_BACKUP)
    partial = max((tile for tile in found if tile.index == count), key=_width, default=None)
    return [Tile(None, index) for index in range(count)] + ([partial] if partial else [])


def _width(tile: Tile) -> int:
    return tile.width


def _entries_of(root: Path, bundle: Tile) -> list[bytes]:
    data = (root / bundle.path).read_bytes()
    entries = tiles.split_bundle(data, name=bundle.path)
    if len(entries) != bundle.width:
        raise IntegrityError(
            f"{bundle.path}: expected {bundle.width} entries, found {len(entries)}", cure=_BACKUP
        )
    return entries


def _require_within(others: Iterable[Tile], expected: Collection[Tile], *, size: int) -> None:
    """Raise unless each tile that a tree of this size does not have is the beginning of one."""
    widths = {(tile.level, tile.index): tile.width for tile in expected}
    for tile in sorted(others, key=lambda tile: tile.path):
        if widths.get((tile.level, tile.index), 0) < tile.width:
            raise IntegrityError(
                f"{tile.path}: is there, but only {size} entries are", cure=_BACKUP
            )


def _make_or_compare(root: Path, tile: Tile, data: bytes, *, is_there: bool) -> None:
    if not is_there:
        folder.place(root, tile, data)
    elif (root / tile.path).read_bytes() != data:
        bundles = ", ".join(_bundles_below(tile))
        raise IntegrityError(f"{tile.path}: is not what {bundles} give", cure=_AGAIN)


def _bundles_below(tile: Tile) -> list[str]:
    if tile.level == 0:
        return [Tile(None, tile.index, tile.width).path]
    return [f"the entries under tile/{tiles.ENTRIES}"]
