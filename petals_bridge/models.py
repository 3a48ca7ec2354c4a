"""The models that may be loaded: an entry each, a TOML file with the digest of every file.

An entry says where the bytes come from (a folder, or found by digest on the search path) and what
they must be. The model's digest is the SHA-256 of the canonical JSON of its file digests.
"""

import json
import os
import re
import shutil
import tomllib
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from evidence import digest
from evidence.errors import Forbidden, InvalidInput, NotFound, SourcesExhausted
from evidence.files import no_space_as_storage_full
from evidence.records import Digest

BUILT_IN = Path(__file__).with_name("models")
"""Entries that come with the project."""

_FILE_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")
_WEIGHTS = re.compile(r"model(-\d{5}-of-\d{5})?\.safetensors")


class Tokenizer(BaseModel):
    """How text becomes tokens."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: Literal["llama2c", "bytes", "tokenizers"]
    """`llama2c`: as llama2.c; `bytes`: token = byte + 3; `tokenizers`: tokenizer.json."""
    file: str | None = None
    """Which of `files` holds it; none for `bytes`."""
    bos: Annotated[int, Field(ge=0)] | None = None
    """Token put before a prompt."""
    eos: Annotated[int, Field(ge=0)] | None = None
    """Token that ends an answer; without one an answer ends at its length."""


class ModelEntry(BaseModel):
    """One model."""

    model_config = ConfigDict(frozen=True, extra="forbid", populate_by_name=True)

    name: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9_-]{0,63}$")]
    architecture: Literal["llama"]
    """Petals serves others too; the bridge's local blocks are Llama's only."""
    source: Annotated[str, Field(max_length=400)] = ""
    """Folder, absolute or below the entry's own, or the id on the hub that the bytes come from; a
    hub is never asked: files are looked for by digest on the search path."""
    revision: Annotated[str, Field(max_length=80)]
    dht_prefix: Annotated[str, Field(pattern=r"^[A-Za-z0-9_-]{1,64}$")]
    """Name of the model's blocks in the swarm; no dots or spaces (hivemind's separators)."""
    blocks: Annotated[int, Field(ge=1, le=1000)]
    context: Annotated[int, Field(ge=2, le=1 << 20)]
    """Most tokens of prompt and answer together."""
    licence: Annotated[str, Field(min_length=1, max_length=80)]
    """SPDX expression, or LicenseRef-*."""
    approved: bool = False
    """Whether it may be loaded."""
    files: Annotated[dict[str, Digest], Field(min_length=1, max_length=200)]
    """SHA-256 of every file."""
    tokenizer: Tokenizer
    chat_template: str | None = None
    """Jinja template of a conversation, with `messages`; none for a model that was not made for
    conversations."""

    @field_validator("files")
    @classmethod
    def _are_plain_names(cls, value: dict[str, str]) -> dict[str, str]:
        for name in value:
            if not _FILE_NAME.fullmatch(name):
                raise ValueError(f"expected plain file names, found {name!r}")
        return value

    @model_validator(mode="after")
    def _is_whole(self) -> Self:
        if "config.json" not in self.files or not any(map(_WEIGHTS.fullmatch, self.files)):
            raise ValueError("files: expected config.json and model.safetensors (or its shards)")
        wanted = self.tokenizer.file
        if (wanted is None) != (self.tokenizer.kind == "bytes"):
            raise ValueError("tokenizer.file: expected one for every kind but `bytes`")
        if wanted is not None and wanted not in self.files:
            raise ValueError(f"tokenizer.file: {wanted} is not among the files")
        return self

    @property
    def digest(self) -> str:
        """What the model is, 64 hex digits: blocks in the cache are addressed by it."""
        weights = {n: d for n, d in self.files.items() if n != self.tokenizer.file}
        return digest.of_record(weights)

    @property
    def weight_files(self) -> tuple[str, ...]:
        """The files with weights."""
        return tuple(sorted(filter(_WEIGHTS.fullmatch, self.files)))


def parse(data: bytes, *, name: str) -> ModelEntry:
    """Return the entry in the bytes of a TOML file.

    Raises:
        InvalidInput: It is not one; the field is named.
    """
    try:
        return ModelEntry.model_validate(tomllib.loads(data.decode()))
    except (UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise InvalidInput(f"{name}: expected TOML, found: {error}", field=name) from error
    except ValidationError as error:
        first = error.errors()[0]
        field = ".".join(map(str, first["loc"])) or name
        raise InvalidInput(f"{name}: {field}: {first['msg']}", field=field) from error


class ModelRegistry:
    """Every model that is known here.

    Args:
        folders: Where entries are; a later folder's entry replaces an earlier one's.
    """

    def __init__(self, folders: Iterable[Path]) -> None:
        self._entries: dict[str, tuple[ModelEntry, Path]] = {}
        for folder in folders:
            for path in sorted(folder.glob("*.toml")):
                entry = parse(path.read_bytes(), name=path.name)
                self._entries[entry.name] = (entry, folder)

    def __iter__(self) -> Iterator[ModelEntry]:
        """Yield the entries by name."""
        return (self._entries[name][0] for name in sorted(self._entries))

    def require(self, name: str) -> ModelEntry:
        """Return an approved model.

        Raises:
            NotFound: There is no such model.
            Forbidden: It is not approved.
        """
        if name not in self._entries:
            known = ", ".join(sorted(self._entries)) or "none"
            raise NotFound(f"model: there is no {name[:64]!r}; known: {known}", field="model")
        entry = self._entries[name][0]
        if not entry.approved:
            raise Forbidden(
                f"model {name} is not approved",
                field="model",
                cure=f"set approved = true in {name}.toml if you approve it",
            )
        return entry

    def folder_of(self, name: str) -> Path | None:
        """Return the folder that an entry names as its source, if it is one."""
        entry, base = self._entries[name]
        source = base / entry.source
        return source if entry.source and source.is_dir() else None


def materialise(
    entry: ModelEntry, into: Path, *, source: Path | None, search_path: Iterable[Path]
) -> Path:
    """Return a folder with the model's files, every one checked at this call.

    Args:
        entry: The model.
        into: Folder for models; the model's own is named by its digest.
        source: Folder that is looked into first, by file name.
        search_path: Folders that are searched by digest.

    Raises:
        SourcesExhausted: A file is nowhere, or only with other bytes; says which.
        StorageFull: There is no space.
    """
    folder = into / digest.of_record(entry.files)
    folder.mkdir(parents=True, exist_ok=True)
    missing = {name for name in entry.files if not _is_right(folder / name, entry.files[name])}
    if missing:
        found = _find(entry, missing, source, search_path)
        for name, path in found.items():
            _copy(path, folder / name, expected=entry.files[name])
    return folder


def _is_right(path: Path, wanted: str) -> bool:
    return path.is_file() and digest.of_file(path) == wanted


def _find(
    entry: ModelEntry, missing: set[str], source: Path | None, search_path: Iterable[Path]
) -> dict[str, Path]:
    found: dict[str, Path] = {}
    for name in sorted(missing):
        if source is not None and _is_right(source / name, entry.files[name]):
            found[name] = source / name
    suffixes = {Path(name).suffix for name in missing - found.keys()}
    wanted = {entry.files[name]: name for name in missing - found.keys()}
    for path in _candidates(search_path, suffixes) if wanted else ():
        sha256 = digest.of_file(path)
        if sha256 in wanted:
            found[wanted.pop(sha256)] = path
        if not wanted:
            break
    if wanted:
        lacking = ", ".join(f"{name} (SHA-256 {sha})" for sha, name in sorted(wanted.items()))
        raise SourcesExhausted(
            f"model {entry.name}: not found: {lacking}",
            cure="put the files into a folder and name it in ZEROPOINT_DATA_PATH",
        )
    return found


def _candidates(folders: Iterable[Path], suffixes: set[str]) -> Iterator[Path]:
    for folder in folders:
        for path in sorted(folder.rglob("*")) if folder.is_dir() else ():
            if path.suffix in suffixes and path.is_file() and not path.is_symlink():
                yield path


def _copy(path: Path, target: Path, *, expected: str) -> None:
    """Copy a file and check what was written."""
    temporary = target.with_name(f".writing-{os.getpid()}-{target.name}")
    try:
        with no_space_as_storage_full(target.name):
            shutil.copyfile(path, temporary)
        digest.require_equal(target.name, expected=expected, found=digest.of_file(temporary))
        temporary.replace(target)
    finally:
        temporary.unlink(missing_ok=True)


def require_architecture(entry: ModelEntry, folder: Path) -> dict[str, Any]:
    """Return config.json of a model, which must be what the entry says.

    Raises:
        InvalidInput: It is not.
    """
    config: dict[str, Any] = json.loads((folder / "config.json").read_bytes())
    found = {
        "architecture": config.get("model_type"),
        "blocks": config.get("num_hidden_layers"),
    }
    expected = {"architecture": entry.architecture, "blocks": entry.blocks}
    if found != expected:
        raise InvalidInput(f"model {entry.name}: expected {expected}, config.json has {found}")
    return config
