"""From the cache to arrays: the bytes that are hashed are the bytes that are decoded."""

from pathlib import Path

from evidence import digest
from evidence.errors import NotFound
from trainers.data import catalog, images, store, text
from trainers.data.catalog import ImageSet
from trainers.data.images import Dataset
from trainers.data.text import Text

Data = Dataset | Text
"""What a run trains on."""


def load(name: str, cache: Path) -> Data:
    """Read, verify and decode a data set from the cache.

    Raises:
        NotFound: No such set, or a raw file is not in the cache.
        DigestMismatch: A raw file is not the published one.
        OSError: A raw file cannot be read.
    """
    entry = catalog.entry(name)
    raw = {file: _verified(name, file=file, cache=cache) for file in entry.files}
    return images.decode(name, raw) if isinstance(entry, ImageSet) else text.decode(name, raw)


def _verified(name: str, *, file: str, cache: Path) -> bytes:
    path = store.folder(name, cache) / file
    try:
        data = path.read_bytes()
    except FileNotFoundError as error:
        raise NotFound(
            f"{name}: {file} is not in the cache", cure=f"python -m trainers fetch {name}"
        ) from error
    expected = catalog.entry(name).files[file].sha256
    digest.require_equal(f"{name}/{file}", expected=expected, found=digest.of_bytes(data))
    return data
