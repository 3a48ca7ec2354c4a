"""The evidence pack of one run: which files it has, where they stand, and its manifest.

    config.json        the resolved RunConfig          events.jsonl     everything that happened
    model.json         tensors of the model            metrics.jsonl    its metrics, own chain
    provenance.json    data, code, runtime, seed       checkpoints/step_000100/*.safetensors
    run.json, loss_curve.csv, tinygrad.jsonl           derived from the files above
    manifest.json      size and SHA-256 of all above   manifest.sha256  the manifest's digest
    records.jsonl      commitment and checkpoints, signed (format 2)
    verdicts.jsonl     what the data gate said, signed, before the commitment (format 3)
    seal/              signatures, keys, proofs of the log: self-verifying, added after the manifest

A run folder may hold `logs/` and unfinished temporary files besides; they are not of the pack and
nothing is claimed about them. How packs are read and shipped: `evidence.archive`.
"""

import os
import re
from collections.abc import Container, Iterator, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Annotated, Literal

from pydantic import Field

from evidence import canonical, digest
from evidence.errors import IntegrityError, InvalidInput
from evidence.files import TEMPORARY_PREFIX, write_atomic
from evidence.printable import printable
from evidence.records import CHECKPOINT_FILES, Digest, FileDigest, Record

VERSION = 1
"""Field `v` of the JSON files that are the same in both formats."""

CONFIG = "config.json"
MODEL = "model.json"
PROVENANCE = "provenance.json"
METRICS = "metrics.jsonl"
EVENTS = "events.jsonl"
CHECKPOINTS = "checkpoints"
RECORDS = "records.jsonl"
VERDICTS = "verdicts.jsonl"
RUN = "run.json"
LOSS_CURVE = "loss_curve.csv"
TINYGRAD = "tinygrad.jsonl"
MANIFEST = "manifest.json"
MANIFEST_SHA256 = "manifest.sha256"
SEAL = "seal"
SEAL_ENVELOPE = "seal/manifest.dsse.json"
SEAL_KEY = "seal/service.pub"
SEAL_KEYS = "seal/keys.jsonl"
SEAL_TREE_HEAD = "seal/tree_head.txt"
SEAL_INCLUSION = "seal/inclusion.json"
SEAL_MODEL_KEY = "seal/model.pub"
SEAL_BEGINNING = "seal/beginning.txt"
MODEL_SIGNATURE = "model.sig"
LOGS = "logs"
STATUS = "status.json"

JOURNALS = (VERDICTS, RECORDS, METRICS, EVENTS)
"""Files that grow while a run goes on. A snapshot takes events last: it owns the truth."""

DERIVED = (RUN, LOSS_CURVE, TINYGRAD)
"""Files that are computed from the others; see `evidence.derived`."""

REQUIRED = (CONFIG, EVENTS, METRICS, *DERIVED)
"""Files that every sealed pack lists in its manifest."""

DESCRIPTIONS = (MODEL, PROVENANCE)
"""Files that a trainer's report makes; a run that was cancelled before has neither."""

_LOGGED_SEAL = (
    SEAL_ENVELOPE,
    SEAL_KEY,
    SEAL_KEYS,
    SEAL_TREE_HEAD,
    SEAL_INCLUSION,
    SEAL_MODEL_KEY,
)

SEAL_FILES: Mapping[int, tuple[str, ...]] = MappingProxyType(
    {1: (SEAL_ENVELOPE, SEAL_KEY), 2: _LOGGED_SEAL, 3: _LOGGED_SEAL}
)
"""By format, the closed list of files under seal/; each verifies itself."""

OPTIONAL_SEAL_FILES: Mapping[int, tuple[str, ...]] = MappingProxyType(
    {1: (), 2: (SEAL_BEGINNING,), 3: (SEAL_BEGINNING,)}
)
"""By format, further files that may be under seal/; they verify themselves, too."""

MAX_DOCUMENT_BYTES = 4 << 20
"""Most bytes of each of DOCUMENTS; a service writes some KiB."""

MAX_MANIFEST_BYTES = 16 << 20
"""Most bytes of manifest.json: enough for 100,000 files."""

DOCUMENTS = (
    CONFIG, *DESCRIPTIONS, MANIFEST_SHA256, *SEAL_FILES[2], *OPTIONAL_SEAL_FILES[2],
)  # fmt: skip
"""Small files that a reader takes whole."""

_CHECKPOINT_NAMES = "|".join(map(re.escape, (*CHECKPOINT_FILES, MODEL_SIGNATURE)))
_STEP_NAME = re.compile(r"step_(\d{6,16})")
_CHECKPOINT_PATH = re.compile(rf"{CHECKPOINTS}/(step_\d{{6,16}})/(?:{_CHECKPOINT_NAMES})")

RunId = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,127}$")]


class PackPaths:
    """Where the files of a run folder stand.

    Args:
        root: The run folder.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        self.config = root / CONFIG
        self.model = root / MODEL
        self.provenance = root / PROVENANCE
        self.metrics = root / METRICS
        self.events = root / EVENTS
        self.checkpoints = root / CHECKPOINTS
        self.run = root / RUN
        self.loss_curve = root / LOSS_CURVE
        self.tinygrad = root / TINYGRAD
        self.manifest = root / MANIFEST
        self.manifest_sha256 = root / MANIFEST_SHA256
        self.seal = root / SEAL
        self.seal_envelope = root / SEAL_ENVELOPE
        self.seal_key = root / SEAL_KEY
        self.records = root / RECORDS
        self.verdicts = root / VERDICTS
        self.seal_keys = root / SEAL_KEYS
        self.seal_tree_head = root / SEAL_TREE_HEAD
        self.seal_inclusion = root / SEAL_INCLUSION
        self.seal_model_key = root / SEAL_MODEL_KEY
        self.seal_beginning = root / SEAL_BEGINNING


class Manifest(Record):
    """manifest.json: every file of the pack but `unlisted`."""

    v: Literal[1, 2, 3]
    """Format of the pack."""
    run_id: RunId
    files: dict[str, FileDigest]
    """By path within the pack, with `/`."""


def format_of(paths: Container[str]) -> Literal[1, 2, 3]:
    """Return the format of a pack with these files.

    2 binds a run before its first step; 3 tells what the data gate said before that.
    """
    if RECORDS not in paths:
        return 1
    return 3 if VERDICTS in paths else 2


def unlisted(version: int) -> tuple[str, ...]:
    """Return the files of a pack of a format that its manifest does not list."""
    return (MANIFEST, MANIFEST_SHA256, *SEAL_FILES[version], *OPTIONAL_SEAL_FILES[version])


def checkpoint_name(step: int) -> str:
    """Return the folder name of the checkpoint after `step` updates, e.g. step_000100."""
    return f"step_{step:06d}"


def checkpoint_step(name: str) -> int:
    """Return the step of a checkpoint's folder name.

    Raises:
        InvalidInput: `name` is not what `checkpoint_name` returns for a step.
    """
    match = _STEP_NAME.fullmatch(name)
    if match is None or checkpoint_name(int(match[1])) != name:
        raise InvalidInput(f"expected a name like step_000100, found {name[:80]!r}")
    return int(match[1])


def checkpoint_path(step: int, file: str) -> str:
    """Return the path within a pack of one file of a checkpoint."""
    return f"{CHECKPOINTS}/{checkpoint_name(step)}/{file}"


def is_known(path: str) -> bool:
    """Return whether a manifest may list `path`."""
    if path in REQUIRED or path in DESCRIPTIONS or path in (RECORDS, VERDICTS):
        return True
    match = _CHECKPOINT_PATH.fullmatch(path)
    return match is not None and checkpoint_name(int(match[1][5:])) == match[1]


def list_files(root: Path) -> dict[str, int]:
    """Return the size in bytes of every file under `root`, by path, in path order.

    Left out: `logs/` and what an unfinished write left behind.

    Raises:
        IntegrityError: There is a link or a special file.
        OSError: A folder cannot be read.
    """
    return dict(sorted(_walk(root, "")))


def _walk(folder: Path, prefix: str) -> Iterator[tuple[str, int]]:
    with os.scandir(folder) as entries:
        for entry in entries:
            path = prefix + entry.name
            if entry.name.startswith(TEMPORARY_PREFIX) or path == LOGS:
                continue
            if entry.is_dir(follow_symlinks=False):
                yield from _walk(folder / entry.name, f"{path}/")
            elif entry.is_file(follow_symlinks=False):
                yield path, entry.stat(follow_symlinks=False).st_size
            else:
                raise IntegrityError(
                    f"{printable(path)}: expected a regular file, found a link or a device"
                )


def list_empty_folders(root: Path) -> list[str]:
    """Return the paths of the folders under `root` in which there is nothing, in order.

    Left out: `logs/`, what an unfinished write left behind, and the folder for checkpoints.

    Raises:
        OSError: A folder cannot be read.
    """
    return sorted(_walk_empty(root, ""))


def _walk_empty(folder: Path, prefix: str) -> Iterator[str]:
    with os.scandir(folder) as entries:
        held = list(entries)
    if not held and prefix not in ("", f"{CHECKPOINTS}/"):
        yield prefix.removesuffix("/")
    for entry in held:
        if entry.name.startswith(TEMPORARY_PREFIX) or prefix + entry.name == LOGS:
            continue
        if entry.is_dir(follow_symlinks=False):
            yield from _walk_empty(folder / entry.name, f"{prefix}{entry.name}/")


def inventory(root: Path) -> list[tuple[str, FileDigest]]:
    """Return path, size and digest of every file of a run folder, sealed or not, in path order.

    A journal that grows meanwhile is taken up to where it ended at the start.

    Raises:
        IntegrityError: There is a link or a special file.
        OSError: A file cannot be read.
    """
    found = []
    for path, size in list_files(root).items():
        try:
            held = _digest_of(root / path, at_most=size if path in JOURNALS else None)
        except FileNotFoundError:  # pruned since the listing
            continue
        found.append((path, held))
    return found


def _digest_of(path: Path, *, at_most: int | None) -> FileDigest:
    with path.open("rb") as file:
        if at_most is not None:
            data = file.read(at_most)
            return FileDigest(bytes=len(data), sha256=digest.of_bytes(data))
        return FileDigest(bytes=os.fstat(file.fileno()).st_size, sha256=digest.of_file(path))


def build_manifest(root: Path, *, run_id: str) -> bytes:
    """Hash every file that the manifest must list and return the bytes of manifest.json.

    Raises:
        IntegrityError: A file is there that no pack has, or one is missing.
        OSError: A file cannot be read.
    """
    held = list_files(root)
    version = format_of(held)
    listed = [path for path in held if path not in unlisted(version)]
    unknown = [path for path in listed if not is_known(path)]
    missing = [path for path in REQUIRED if path not in listed]
    if unknown or missing:
        raise IntegrityError(
            f"the run folder cannot be sealed: unknown files {unknown}, missing files {missing}"
        )
    files = {path: _digest_of(root / path, at_most=None) for path in listed}
    manifest = Manifest(v=version, run_id=run_id, files=files)
    return canonical.encode(manifest.model_dump(mode="json"))


def write_manifest(root: Path, *, run_id: str) -> Digest:
    """Write manifest.json and manifest.sha256 of a run folder; return the manifest's SHA-256.

    Raises:
        IntegrityError: As for `build_manifest`.
        StorageFull: There is no space.
    """
    paths = PackPaths(root)
    data = build_manifest(root, run_id=run_id)
    write_atomic(paths.manifest, data)
    sha256 = digest.of_bytes(data)
    write_atomic(paths.manifest_sha256, f"{sha256}\n".encode())
    return sha256


def is_sealed(root: Path) -> bool:
    """Return whether the run folder is sealed: the signature over its manifest is in place.

    In format 2 the proof that the log has it, too; it is written last.
    """
    paths = PackPaths(root)
    last = paths.seal_inclusion if paths.records.exists() else paths.seal_envelope
    return paths.seal_envelope.is_file() and last.is_file()
