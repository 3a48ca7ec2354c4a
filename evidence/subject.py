"""A pack under verification: what checks read, and how they say that something differs.

Checks run in order and leave here what later ones need; nothing here decides anything.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, TypeVar

from pydantic import BaseModel

from evidence import archive, canonical
from evidence.archive import Pack
from evidence.binding import CheckpointBinding, Commitment
from evidence.errors import IntegrityError, InvalidInput
from evidence.log.note import Verifier
from evidence.log.tree_head import SignedTreeHead
from evidence.pack import (
    DOCUMENTS,
    MANIFEST,
    MAX_DOCUMENT_BYTES,
    MAX_MANIFEST_BYTES,
    SEAL_ENVELOPE,
    Manifest,
    format_of,
)
from evidence.packfiles import (
    CheckpointLine,
    Config,
    EventLine,
    MetricLine,
    ModelDescription,
    Provenance,
    parse,
)
from evidence.records import FileDigest
from evidence.signing import PublicKey, unverified_statement

Model = TypeVar("Model", bound=BaseModel)

DescribeModel = Callable[[dict[str, Any]], dict[str, Any]]
"""Builds the model of a config.json and returns what model.json must be."""

Shape = tuple[str, tuple[int, ...]]
"""dtype and shape of a tensor."""


@dataclass(frozen=True, slots=True)
class KnownLog:
    """What a verifier knows of a log from elsewhere."""

    verifier: Verifier | None = None
    """Its key."""
    head: SignedTreeHead | None = None
    """A tree head that the verifier kept, its signature verified."""
    proof: Sequence[bytes] | None = None
    """Consistency of that one and the pack's, whichever is older first; None if there is none."""
    witnesses: Sequence[Verifier] = ()
    """Keys of witnesses that the verifier trusts."""


NOTHING_KNOWN = KnownLog()
"""What a verifier knows who has nothing but the pack."""


@dataclass(frozen=True)
class Difference:
    """The first thing that differs. Empty text where there is nothing to say."""

    detail: str
    where: str
    expected: str = ""
    found: str = ""
    meaning: str = ""
    see_too: str = ""


class Differs(Exception):
    """Ends a check that fails; never leaves `evidence.verify`."""

    def __init__(self, difference: Difference) -> None:
        super().__init__(difference.detail)
        self.difference = difference


class NotCheckable(Exception):
    """Ends a check that cannot be made; never leaves `evidence.verify`."""


@dataclass(frozen=True)
class Good:
    """How a check that passes ends."""

    count: str
    """How much was checked, e.g. `14 files`."""
    detail: str = ""


@dataclass(frozen=True)
class SignedLine:
    """One line of records.jsonl whose signature was verified."""

    number: int
    """1 for the commitment."""
    data: bytes
    """The envelope, without the newline."""
    statement: dict[str, Any]
    said: Commitment | CheckpointBinding
    """The predicate."""


@dataclass
class Subject:
    """One pack and what is known of it so far."""

    pack: Pack
    public_key: PublicKey | None
    """The key that the caller trusts, if one was given."""
    describe_model: DescribeModel | None
    known_log: KnownLog = NOTHING_KNOWN
    key_id: str | None = None
    """Check 3: the key that signed."""
    digests: dict[str, FileDigest] = field(default_factory=dict)
    """Check 2: what files were found to be."""
    oversize: set[str] = field(default_factory=set)
    """Check 2: files much larger than the manifest says, which nothing reads."""
    events: list[EventLine] = field(default_factory=list)
    """Check 4."""
    event_records: list[dict[str, Any]] = field(default_factory=list)
    """Check 4: the same as JSON."""
    metric_heads: list[tuple[int, str]] = field(default_factory=list)
    """Check 5: seq and SHA-256 of each line of metrics.jsonl."""
    records: list[SignedLine] = field(default_factory=list)
    """Check 13."""
    seed: str | None = None
    """Check 6: the seed of the run, where it has one and agrees with config and data."""
    tensors: dict[int, dict[str, Shape]] = field(default_factory=dict)
    """Check 9: by step, the tensors in model.safetensors."""

    @property
    def sealed(self) -> bool:
        """Whether there is a signature over the manifest."""
        return SEAL_ENVELOPE in self.pack.files

    def require_sealed(self) -> None:
        """End the check if the pack is not sealed."""
        if not self.sealed:
            raise NotCheckable("the pack is not sealed")

    @property
    def is_bound(self) -> bool:
        """Whether the pack is of format 2 or 3, in which a run is bound before its first step."""
        return format_of(self.pack.files) > 1

    def require_bound(self) -> None:
        """End the check if the pack is of format 1."""
        if not self.is_bound:
            raise NotCheckable("format 1 has no signed records")

    @property
    def seal_statement(self) -> dict[str, Any]:
        """What the seal says; check 3 verified who says it."""
        with as_difference(SEAL_ENVELOPE):
            return unverified_statement(self.read(SEAL_ENVELOPE))

    @property
    def log(self) -> str:
        """Verifier key of the log, as the seal names it."""
        return str(self.seal_statement.get("predicate", {}).get("log"))

    def has(self, path: str) -> bool:
        """Return whether the pack has a file."""
        return path in self.pack.files

    def require_file(self, path: str) -> int:
        """Return a file's size in bytes; the check fails if the pack has none."""
        if path not in self.pack.files:
            raise Differs(
                Difference(
                    f"{path} is missing",
                    where=path,
                    expected="a file",
                    found="none",
                    meaning="the pack is incomplete; what the file says cannot be checked",
                )
            )
        return self.pack.files[path]

    def read(self, path: str) -> bytes:
        """Return a file's bytes; the check fails if the pack has none, or one of absurd size."""
        size = self.require_file(path)
        at_most = _most_bytes(path)
        if size > at_most or path in self.oversize:
            raise too_large(path, expected=f"at most {at_most} bytes, as listed", size=size)
        return archive.read(self.pack, path)

    def read_object(self, path: str) -> dict[str, Any]:
        """Return a JSON file as an object; the check fails if it is not canonical JSON."""
        data = self.read(path)
        with as_difference(path):
            return canonical.decode_canonical(data)

    def read_as(self, path: str, kind: type[Model]) -> Model:
        """Return a JSON file as its strict type; the check fails if it does not fit."""
        self.read_object(path)
        with as_difference(path):
            return parse(kind, self.read(path))

    @property
    def manifest(self) -> Manifest:
        """manifest.json."""
        return self.read_as(MANIFEST, Manifest)

    @property
    def config(self) -> Config:
        """config.json."""
        return self.read_as("config.json", Config)

    @property
    def model(self) -> ModelDescription:
        """model.json."""
        return self.read_as("model.json", ModelDescription)

    @property
    def provenance(self) -> Provenance:
        """provenance.json."""
        return self.read_as("provenance.json", Provenance)

    @property
    def metrics(self) -> list[MetricLine]:
        """The metric events."""
        return [event for event in self.events if isinstance(event, MetricLine)]

    @property
    def checkpoints(self) -> list[CheckpointLine]:
        """The checkpoint events."""
        return [event for event in self.events if isinstance(event, CheckpointLine)]


def _most_bytes(path: str) -> int:
    if path == MANIFEST:
        return MAX_MANIFEST_BYTES
    return MAX_DOCUMENT_BYTES if path in DOCUMENTS else archive.MAX_FILE_BYTES


def too_large(path: str, *, expected: str, size: int) -> Differs:
    """Return the failure of a check at a file that is too large to be looked at."""
    return Differs(
        Difference(
            f"{path} is too large; it was not read",
            where=path,
            expected=expected,
            found=f"{size} bytes",
            meaning="the file is not what this service writes",
        )
    )


@contextmanager
def as_difference(path: str) -> Iterator[None]:
    """Turn an error about the content of a file into the failure of the check."""
    try:
        yield
    except (IntegrityError, InvalidInput) as error:
        raise Differs(
            Difference(
                f"{path} is not what the pack format says: {error.detail}",
                where=f"{path}, {error.field}" if error.field else path,
                expected=error.expected or "",
                found=error.found or "",
                meaning="the file was not written by this format version, or was changed",
            )
        ) from error


def line_place(path: str, number: int, total: int | None = None) -> str:
    """Return `metrics.jsonl, line 212/938`."""
    return f"{path}, line {number}" + ("" if total is None else f"/{total}")


def event_place(event: EventLine) -> str:
    """Return the place of an event; in a whole events.jsonl, seq is the number of the line."""
    return line_place("events.jsonl", event.seq)


def first_difference(expected: object, found: object, pointer: str = "") -> tuple[str, str, str]:
    """Return JSON pointer, expected and found of the first place where two JSON values differ."""
    if isinstance(expected, Mapping) and isinstance(found, Mapping):
        for key in sorted({*expected, *found}):
            place = f"{pointer}/{key.replace('~', '~0').replace('/', '~1')}"
            if key not in expected or key not in found:
                return place, _shown(expected, key), _shown(found, key)
            if expected[key] != found[key]:
                return first_difference(expected[key], found[key], place)
    if isinstance(expected, list) and isinstance(found, list):
        for i in range(min(len(expected), len(found))):
            if expected[i] != found[i]:
                return first_difference(expected[i], found[i], f"{pointer}/{i}")
        return pointer, f"{len(expected)} elements", f"{len(found)} elements"
    return pointer, shown(expected), shown(found)


def _shown(value: Mapping[str, Any], key: str) -> str:
    return shown(value[key]) if key in value else "nothing"


def shown(value: object) -> str:
    """Return a JSON value as text of at most 200 characters."""
    text = canonical.encode(value).decode()
    return text if len(text) <= 200 else text[:197] + "..."  # noqa: PLR2004 - a line or two


def size(count: int) -> str:
    """Return a number of bytes for people, in decimal units."""
    value, unit = float(count), "B"
    for unit in ("B", "kB", "MB", "GB"):
        if value < 1000 or unit == "GB":  # noqa: PLR2004 - decimal units
            break
        value /= 1000
    return f"{count} B" if unit == "B" else f"{value:.1f} {unit}"


def plural(count: int, thing: str) -> str:
    """Return `1 file`, `14 files`, `10,000 lines`."""
    return f"{count:,} {thing}" + ("" if count == 1 else "s")
