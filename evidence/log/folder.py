"""The folder of a log: tiles and bundles as C2SP tlog-tiles names them, and the tree head.

    tile/entries/<N>[.p/<W>]    entries
    tile/<L>/<N>[.p/<W>]        hashes
    checkpoint                  the last signed tree head

Each file is written wholly or not at all. Of the partial tiles of one place the widest is kept: it
begins with all others. Whoever reads here needs no word with the one writer.
"""

from pathlib import Path

from evidence.errors import IntegrityError, InvalidInput, NotFound, Unavailable
from evidence.files import fsync_folder, is_temporary, no_space_as_storage_full, write_atomic
from evidence.log import tiles
from evidence.log.merkle import HASH_BYTES
from evidence.log.tiles import Tile

CHECKPOINT = "checkpoint"
"""Name of the tree head, in the folder as over HTTP."""

TILES = "tile"
"""Folder of the tiles."""

_ATTEMPTS = 10


def read_tile(folder: Path, path: str) -> bytes:
    """Return the bytes of a tile or bundle, as HTTP serves them.

    A partial one is cut from a wider one where that has taken its place.

    Raises:
        InvalidInput: The path names no tile.
        NotFound: The log has none there.
        IntegrityError: The file is damaged.
        OSError: It cannot be read.
    """
    tile = tiles.of_path(path)
    for _ in range(_ATTEMPTS):
        found = _covering(folder, tile)
        if found is None:
            raise NotFound(f"the log has no {path}")
        try:
            data = (folder / found.path).read_bytes()
        except FileNotFoundError:
            continue  # the writer has just put a wider one in its place
        return _cut(data, found, tile.width)
    raise Unavailable(f"{path}: it is being written")


def read_head(folder: Path) -> bytes:
    """Return the last signed tree head, a note.

    Raises:
        NotFound: None was signed yet.
        OSError: It cannot be read.
    """
    try:
        return (folder / CHECKPOINT).read_bytes()
    except FileNotFoundError as error:
        raise NotFound("the log has no signed tree head yet") from error


def place(folder: Path, tile: Tile, data: bytes) -> None:
    """Write a tile; it is on the disk when this returns, and narrower ones are gone.

    Raises:
        StorageFull: There is no space; nothing of it is there.
        OSError: It cannot be written.
    """
    path = folder / tile.path
    with no_space_as_storage_full(tile.path):
        _make_folder(path.parent)
    write_atomic(path, data)
    clear_outgrown(folder, tile)


def clear_outgrown(folder: Path, tile: Tile) -> None:
    """Remove the partial tiles whose place `tile` has taken, and their folder if it is empty.

    Raises:
        OSError: One cannot be removed.
    """
    beside = folder / f"{tile.full.path}.p"
    if not beside.is_dir():
        return
    for path in beside.iterdir():
        if path.name != str(tile.width):
            path.unlink()
    if tile == tile.full:
        beside.rmdir()


def listed(folder: Path) -> set[Tile]:
    """Return every tile that is there; what an unfinished write left is removed.

    Raises:
        IntegrityError: Another file lies among them.
        OSError: The folder cannot be read.
    """
    found = set()
    for path in sorted((folder / TILES).rglob("*")):
        if path.is_dir():
            continue
        if is_temporary(path):
            path.unlink()
            continue
        name = path.relative_to(folder).as_posix()
        try:
            found.add(tiles.of_path(name))
        except InvalidInput as error:
            raise IntegrityError(
                f"{name}: is no file of a log", cure="move it elsewhere; the log did not write it"
            ) from error
    return found


def _covering(folder: Path, tile: Tile) -> Tile | None:
    """Return the tile on the disk that begins with the wanted one."""
    if (folder / tile.path).is_file():
        return tile
    if (folder / tile.full.path).is_file():
        return tile.full
    beside = folder / f"{tile.full.path}.p"
    if tile == tile.full or not beside.is_dir():
        return None
    widths = [int(path.name) for path in beside.iterdir() if path.name.isdecimal()]
    wider = min((width for width in widths if width > tile.width), default=None)
    return Tile(tile.level, tile.index, wider) if wider else None


def _cut(data: bytes, found: Tile, width: int) -> bytes:
    if found.width == width:
        return data
    if found.level is None:
        return tiles.first_of_bundle(data, width, name=found.path)
    if len(data) != found.width * HASH_BYTES:
        raise IntegrityError(f"{found.path}: expected {found.width} hashes")
    return data[: width * HASH_BYTES]


def _make_folder(path: Path) -> None:
    """Make a folder and those above it, on the disk when this returns."""
    if path.is_dir():
        return
    _make_folder(path.parent)
    path.mkdir(exist_ok=True)
    fsync_folder(path.parent)
