"""From the cache to arrays: the bytes that are hashed are the bytes that are decoded."""

from collections.abc import Mapping
from pathlib import Path

from evidence import digest
from evidence.errors import NotFound
from trainers.data import catalog, images, store, text
from trainers.data.catalog import ImageSet
from trainers.data.images import Dataset
from trainers.data.store import Entry
from trainers.data.stream import VerifiedFile
from trainers.data.text import Text

Data = Dataset | Text
"""What a run trains on."""


_RESIDENT_BYTES = 1 << 30
"""Size of a data set up to which it is read into memory; beyond, its training part is streamed."""


def load(
    name: str, cache: Path, *, resident_bytes: int = _RESIDENT_BYTES, own: Entry | None = None
) -> Data:
    """Read, verify and decode a data set from the cache.

    A set of more than `resident_bytes` stays in its files but for the test part, unless its layout
    is `arrays`; the samples are the same bits either way. `own` is as for `catalog.entry`.

    Raises:
        NotFound: No such set, or a raw file is not in the cache.
        DigestMismatch: A raw file is not the published one.
        OSError: A raw file cannot be read.
    """
    entry = catalog.entry(name, own)
    paths = {file: _require(name, file=file, cache=cache) for file in entry.files}
    size = sum(path.stat().st_size for path in paths.values())
    is_arrays = isinstance(entry, ImageSet) and entry.layout == "arrays"
    if size > resident_bytes and not is_arrays:
        return _streamed(name, paths, entry)
    raw = {
        file: _verified(f"{name}/{file}", path, expected=entry.files[file].sha256)
        for file, path in paths.items()
    }
    if isinstance(entry, ImageSet):
        return images.decode(name, raw, entry)
    return text.decode(name, raw, entry)


def _streamed(name: str, paths: Mapping[str, Path], entry: Entry) -> Data:
    files = {
        file: VerifiedFile(path, name=f"{name}/{file}", sha256=entry.files[file].sha256)
        for file, path in paths.items()
    }
    if isinstance(entry, ImageSet):
        return images.stream(name, files, entry)
    (only,) = files.values()
    return text.stream(name, only, entry)


def _require(name: str, *, file: str, cache: Path) -> Path:
    path = store.folder(name, cache) / file
    if not path.is_file():
        raise NotFound(
            f"{name}: {file} is not in the cache", cure=f"python -m trainers fetch {name}"
        )
    return path


def _verified(name: str, path: Path, *, expected: str) -> bytes:
    data = path.read_bytes()
    digest.require_equal(name, expected=expected, found=digest.of_bytes(data))
    return data
