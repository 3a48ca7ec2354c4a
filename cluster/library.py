"""What a service knows of data sets: the shipped manifest, with the sizes and digests it names."""

from functools import cached_property
from pathlib import Path

from evidence import canonical
from evidence.records import FileDigest
from governance import manifest
from governance.manifest import Checksums, Dossier, Manifest
from trainers.data import catalog

_OTHER_CHECKSUMS = manifest.SHIPPED.with_name("checksums.json")
"""Files of data sets that are in the manifest and not for training."""


class Library:
    """The data sets of a service."""

    @cached_property
    def _manifest(self) -> Manifest:
        return manifest.read(manifest.SHIPPED, checksums=shipped_checksums())

    def dossier(self, name: str) -> Dossier | None:
        """Return what the manifest says of a data set; None where it has no entry.

        Raises:
            InvalidInput: A manifest is malformed; names file, line and field.
            OSError: It cannot be read.
        """
        return self._manifest.datasets.get(name)


def shipped_checksums() -> Checksums:
    """Return the files of every data set that is shipped, by the key of checksums.json."""
    trainable = {name: catalog.entry(name).files for name in catalog.names()}
    return {**trainable, **_read(_OTHER_CHECKSUMS)}


def _read(path: Path) -> dict[str, dict[str, FileDigest]]:
    return {
        key: {file: FileDigest.model_validate(held) for file, held in files.items()}
        for key, files in canonical.decode_object(path.read_bytes()).items()
    }
