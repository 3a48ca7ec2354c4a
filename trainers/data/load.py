"""From the cache to arrays: the bytes that are hashed are the bytes that are decoded."""

from collections.abc import Mapping
from pathlib import Path

from evidence import digest
from evidence.errors import NotFound
from trainers.data import catalog, images, store, text
from trainers.data.catalog import ImageSet
from trainers.data.images import Dataset
from trainers.data.stream import VerifiedFile
from trainers.data.text import Text

Data = Dataset | Text
"""What a run trains on."""


_RESIDENT_BYTES = 1 << 30
"""Size of a data set up to which it is read into memory; beyond, its training part is streamed."""


def load(name: str, cache: Path, *, resident_bytes: int = _RESIDENT_BYTES) -> Data:
    """Read, verify and decode a data set from the cache.

    A set of more than `resident_bytes` stays in its files but for the test part; the samples are
    the same bits either way.

    Raises:
        NotFound: No such set, or a raw file is not in the cache.
        DigestMismatch: A raw file is not the published one.
        OSError: A raw file cannot be read.
    """
    entry = catalog.entry(name)
    paths = {file: _require(name, file=file, cache=cache) for file in entry.files}
    if sum(path.stat().st_size for path in paths.values()) > resident_bytes:
        return _streamed(name, paths)
    raw = {file: _verified(name, file=file, path=path) for file, path in paths.items()}
    return images.decode(name, raw) if isinstance(entry, ImageSet) else text.decode(name, raw)


def _streamed(name: str, paths: Mapping[str, Path]) -> Data:
    entry = catalog.entry(name)
    files = {
        file: VerifiedFile(path, name=f"{name}/{file}", sha256=entry.files[file].sha256)
        for file, path in paths.items()
    }
    if isinstance(entry, ImageSet):
        return images.stream(name, files)
    (only,) = files.values()
    return text.stream(name, only)


def _require(name: str, *, file: str, cache: Path) -> Path:
    path = store.folder(name, cache) / file
    if not path.is_file():
        raise NotFound(
            f"{name}: {file} is not in the cache", cure=f"python -m trainers fetch {name}"
        )
    return path


def _verified(name: str, *, file: str, path: Path) -> bytes:
    data = path.read_bytes()
    expected = catalog.entry(name).files[file].sha256
    digest.require_equal(f"{name}/{file}", expected=expected, found=digest.of_bytes(data))
    return data
