"""What a service knows of data sets: those that are shipped, and those that were added to it.

Both are a manifest.yaml with a checksums.json beside it. Those of the service lie in `datasets/` of
its home; the manager alone writes them, whole or not at all.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import yaml
from pydantic import Field, TypeAdapter, ValidationError

from evidence import canonical
from evidence.errors import Conflict, IntegrityError, NotFound
from evidence.files import write_atomic
from evidence.records import FileDigest
from governance import manifest
from governance.manifest import Checksums, Dossier, Entry, EntryApproval, Manifest, digest_of_files
from trainers.data import catalog
from trainers.data.catalog import ImageSet, TextSet

Spec = ImageSet | TextSet
"""What trainers know of a data set."""

_OTHER_CHECKSUMS = manifest.SHIPPED.with_name("checksums.json")
"""Files of data sets that are in the manifest and not for training."""

_SPECS = TypeAdapter(dict[str, Annotated[Spec, Field(discriminator="kind")]])


class Library:
    """The data sets of a service.

    Args:
        folder: Of those that were added; made when the first one is.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._specs: dict[str, Spec] = {}
        self._manifest = manifest.read(manifest.SHIPPED, checksums=shipped_checksums())
        self._own = Manifest(datasets={})
        if self._manifest_path.exists():
            self._read()

    @property
    def _manifest_path(self) -> Path:
        return self._folder / "manifest.yaml"

    @property
    def _specs_path(self) -> Path:
        return self._folder / "checksums.json"

    def _read(self) -> None:
        """Take in what was added.

        Raises:
            InvalidInput: The manifest is malformed; names file, line and field.
            IntegrityError: checksums.json is.
            OSError: A file cannot be read.
        """
        data = canonical.decode_object(self._specs_path.read_bytes())
        try:
            self._specs = _SPECS.validate_json(canonical.encode(data))
        except ValidationError as error:
            raise IntegrityError(f"{self._specs_path.name}: {error}"[:500]) from error
        checksums = {name: spec.files for name, spec in self._specs.items()}
        self._own = manifest.read(self._manifest_path, checksums=checksums)
        self._manifest.with_also(self._own)  # refuses a name that both have

    def names(self) -> list[str]:
        """Return the names of all data sets that can be trained on, sorted."""
        return sorted([*catalog.names(), *self._specs])

    def dossier(self, name: str) -> Dossier | None:
        """Return what the manifest says of a data set; None where it has no entry."""
        return self._own.datasets.get(name) or self._manifest.datasets.get(name)

    def own(self, name: str) -> Spec | None:
        """Return what trainers know of a data set that was added; None where none was."""
        return self._specs.get(name)

    def spec(self, name: str) -> Spec:
        """Return what trainers know of a data set.

        Raises:
            NotFound: There is no such data set.
        """
        if name not in self._specs and name not in catalog.names():
            known = ", ".join(self.names())
            raise NotFound(f"dataset: expected one of {known}, found {name[:80]!r}")
        return catalog.entry(name, self._specs.get(name))

    def add(self, name: str, spec: Spec, entry: Entry) -> None:
        """Take in a data set that nobody approved yet.

        Raises:
            InvalidInput: It cannot be data of somebody's own.
            Conflict: There is one of the name.
            StorageFull: There is no space; nothing was taken in.
        """
        catalog.require_own(spec)
        if self.dossier(name) is not None or name in self.names():
            raise Conflict(
                f"there is a data set {name} already; other data needs another name",
                field="name",
                found=name,
            )
        files = dict(spec.files)
        self._write(
            {**self._specs, name: spec},
            {**self._own.datasets, name: Dossier(name=name, entry=entry, files=files)},
        )

    def approve(self, name: str, *, who: str, day: str) -> Dossier:
        """Approve the bytes of a data set that was added.

        Raises:
            NotFound: There is no such data set.
            Conflict: It is one of the shipped manifest, which a service does not change.
            StorageFull: There is no space.
        """
        self.spec(name)
        known = self._own.datasets.get(name)
        if known is None:
            raise Conflict(f"{name} is in the shipped manifest, which approves it", field="name")
        approved = EntryApproval(by=who, at=day, files_sha256=digest_of_files(known.digests))
        entry = known.entry.model_copy(update={"approved": approved})
        dossier = known.model_copy(update={"entry": entry})
        self._write(self._specs, {**self._own.datasets, name: dossier})
        return dossier

    def _write(self, specs: Mapping[str, Spec], dossiers: Mapping[str, Dossier]) -> None:
        """Write both files, the one that the other names first."""
        self._folder.mkdir(parents=True, exist_ok=True)
        told = {name: spec.model_dump(mode="json") for name, spec in specs.items()}
        write_atomic(self._specs_path, canonical.encode(told))
        document: dict[str, Any] = {
            "v": 1,
            "datasets": {
                name: dossier.entry.model_dump(mode="json", exclude_none=True)
                for name, dossier in dossiers.items()
            },
        }
        text = yaml.safe_dump(document, sort_keys=False, allow_unicode=True, width=100)
        write_atomic(self._manifest_path, text.encode())
        self._specs, self._own = dict(specs), Manifest(datasets=dict(dossiers))


def shipped_checksums() -> Checksums:
    """Return the files of every data set that is shipped, by the key of checksums.json."""
    trainable = {name: catalog.entry(name).files for name in catalog.names()}
    return {**trainable, **_files_in(_OTHER_CHECKSUMS)}


def _files_in(path: Path) -> dict[str, dict[str, FileDigest]]:
    return {
        key: {file: FileDigest.model_validate(held) for file, held in files.items()}
        for key, files in canonical.decode_object(path.read_bytes()).items()
    }
