"""The cache of raw data files: a file is in it only if its bytes are the published ones."""

import errno
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from evidence import digest
from evidence.errors import StorageFull
from trainers.data import catalog
from trainers.data.catalog import ImageSet, TextSet

Entry = ImageSet | TextSet

State = Literal["absent", "partial", "damaged", "ready"]


@dataclass(frozen=True, slots=True)
class Status:
    """Whether a data set can be trained on from this cache."""

    name: str
    """Key in the catalog."""
    state: State
    """`ready`: every raw file is there with its published digest."""
    files: Mapping[str, str | None]
    """SHA-256 found for each raw file, None where there is no file."""

    def as_json(self) -> dict[str, Any]:
        """Return the status as JSON values."""
        return {"name": self.name, "state": self.state, "files": dict(self.files)}


def folder(name: str, cache: Path) -> Path:
    """Return where the raw files of `name` lie in the cache."""
    return cache / "datasets" / name


def status(name: str, cache: Path, *, own: Entry | None = None) -> Status:
    """Read and hash what the cache holds of a data set; `own` as for `catalog.entry`.

    Raises:
        NotFound: There is no such data set.
        OSError: A file cannot be read.
    """
    expected = catalog.entry(name, own).digests
    place = folder(name, cache)
    found = {
        file: digest.of_file(place / file) if (place / file).is_file() else None
        for file in expected
    }
    return Status(name, _state(expected, found), found)


def missing(name: str, cache: Path, *, own: Entry | None = None) -> list[str]:
    """Return the raw files that the cache lacks or holds with other bytes."""
    expected = catalog.entry(name, own).digests
    found = status(name, cache, own=own).files
    return [file for file in expected if found[file] != expected[file]]


def admit(
    name: str, file: str, data: bytes, *, cache: Path, source: str, own: Entry | None = None
) -> None:
    """Put one raw file into the cache, whole and verified, or not at all.

    Args:
        name: Data set.
        file: Name of the raw file in the catalog.
        data: Its bytes, from anywhere.
        cache: Root of the cache.
        source: Where they came from, for the message.
        own: As for `catalog.entry`.

    Raises:
        DigestMismatch: They are not the published bytes; both digests stand in the message.
        StorageFull: The disk took no more.
        OSError: The cache cannot be written.
    """
    expected = catalog.entry(name, own).files[file]
    digest.require_equal(
        f"{name}/{file} from {source}", expected=expected.sha256, found=digest.of_bytes(data)
    )
    place = folder(name, cache)
    place.mkdir(parents=True, exist_ok=True)
    part = place / f".{file}.{os.getpid()}.part"
    try:
        with part.open("wb") as target:
            target.write(data)
            target.flush()
            os.fsync(target.fileno())
        part.replace(place / file)
    except OSError as error:
        part.unlink(missing_ok=True)
        if error.errno == errno.ENOSPC:
            raise StorageFull(f"{name}/{file}: no space in the data cache: {error}") from error
        raise


def _state(expected: Mapping[str, str], found: Mapping[str, str | None]) -> State:
    if expected == found:
        return "ready"
    if not any(found.values()):
        return "absent"
    wrong = any(sha256 not in (None, expected[file]) for file, sha256 in found.items())
    return "damaged" if wrong else "partial"
