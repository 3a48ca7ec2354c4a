"""Blocks of models on this machine's disk, checked by SHA-256 whenever they are loaded.

    blocks/MODEL/007.safetensors     the tensors of block 7 of the model with that digest
    blocks/MODEL/007.json            its SHA-256 and size
    quarantine/                      what did not match, for whoever wants to look
    .lock                            held while files are put in place or evicted

A block is in the cache when its .json is there, which is written last. A file that a crash left
without one is written over. Every process that uses a block holds a shared lock on its file, so
that no other evicts it; the lock dies with its process. Least recently used blocks go first.
"""

import fcntl
import os
import secrets
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from evidence import canonical, digest
from evidence.errors import DigestMismatch, InvalidInput, NotFound, StorageFull
from evidence.files import sweep, write_atomic
from evidence.records import Digest

MAX_BLOCKS = 1_000
"""Most blocks of a model."""

MAX_QUARANTINED = 8
"""Files kept in quarantine; older ones are removed."""

FetchBlock = Callable[[], bytes]
"""Returns the bytes of a block from where it comes from; they were checked there."""


class _Note(BaseModel):
    """What stands beside a block."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    sha256: Digest
    bytes: Annotated[int, Field(ge=0)]


@dataclass(frozen=True, slots=True)
class BlockId:
    """Which block of which model."""

    model: str
    """Digest of the model, 64 hex digits."""
    index: int


@dataclass(frozen=True, slots=True)
class Held:
    """One block in the cache."""

    block: BlockId
    bytes: int
    used_ns: int
    """When it was used last, as the file's modification time."""


class BlockCache:
    """The cache in one folder; several processes may use the same one.

    Args:
        root: The folder; made if it is not there.
        max_bytes: Size above which blocks are evicted.
        quarantined: Called with each block that was quarantined, and why.
    """

    def __init__(
        self,
        root: Path,
        *,
        max_bytes: int,
        quarantined: Callable[[BlockId, str], None] = lambda _block, _why: None,
    ) -> None:
        self.root = root
        self.max_bytes = max_bytes
        self._quarantined = quarantined
        self._pins: dict[BlockId, list[int]] = {}
        self._turn = threading.RLock()
        (root / "blocks").mkdir(parents=True, exist_ok=True)
        (root / "quarantine").mkdir(exist_ok=True)

    def has(self, block: BlockId) -> bool:
        """Return whether a block is here; its bytes are checked when it is loaded."""
        return self._note(block) is not None and self._path(block).exists()

    def indices(self, model: str, *, blocks: int) -> frozenset[int]:
        """Return which of a model's blocks are here."""
        return frozenset(i for i in range(blocks) if self.has(BlockId(model, i)))

    def load(self, block: BlockId) -> bytes:
        """Return the bytes of a block, checked.

        Raises:
            NotFound: It is not here.
            DigestMismatch: Its bytes are not what they were; it was put into quarantine.
        """
        note = self._note(block)
        if note is None:
            raise _absent(block)
        path = self._path(block)
        try:
            data = path.read_bytes()
        except FileNotFoundError as error:
            raise _absent(block) from error
        found = digest.of_bytes(data)
        if found != note.sha256:
            if self._note(block) != note:  # another process put it in place meanwhile
                return self.load(block)
            self._quarantine(block, found)
            digest.require_equal(_name(block), expected=note.sha256, found=found)
        with suppress(FileNotFoundError):
            os.utime(path)
        return data

    def load_or_fetch(self, block: BlockId, fetch: FetchBlock) -> bytes:
        """Return the bytes of a block; fetched and kept if it is not here or was damaged.

        Raises:
            StorageFull: It was fetched, and there is no space to keep it.
            ServiceError: What `fetch` raised.
        """
        try:
            return self.load(block)
        except (NotFound, DigestMismatch):
            data = fetch()
            self.put(block, data)
            return data

    def put(self, block: BlockId, data: bytes) -> None:
        """Keep the bytes of a block, after others were evicted to make room.

        Raises:
            StorageFull: Blocks in use fill the cache, or the disk is full; the cache is whole.
        """
        note = _Note(sha256=digest.of_bytes(data), bytes=len(data))
        with self._changing():
            path = self._path(block)
            path.parent.mkdir(exist_ok=True)
            sweep(path.parent)
            self._make_room(len(data), keep=block)
            path.with_suffix(".json").unlink(missing_ok=True)
            try:
                write_atomic(path, data)
                write_atomic(path.with_suffix(".json"), canonical.encode(note.model_dump()))
            except OSError:
                path.unlink(missing_ok=True)
                raise

    @contextmanager
    def pinned(self, block: BlockId) -> Iterator[None]:
        """Keep a block from being evicted, by any process.

        Raises:
            NotFound: It is not here.
        """
        self.pin(block)
        try:
            yield
        finally:
            self.unpin(block)

    def pin(self, block: BlockId) -> None:
        """Keep a block from being evicted until `unpin`, or until this process ends.

        Raises:
            NotFound: It is not here.
        """
        try:
            descriptor = os.open(self._path(block), os.O_RDONLY)
        except FileNotFoundError as error:
            raise _absent(block) from error
        fcntl.flock(descriptor, fcntl.LOCK_SH)
        with self._turn:
            self._pins.setdefault(block, []).append(descriptor)

    def unpin(self, block: BlockId) -> None:
        """Take back one `pin`."""
        with self._turn:
            os.close(self._pins[block].pop())
            if not self._pins[block]:
                del self._pins[block]

    def held(self) -> list[Held]:
        """Return every block that is here, the least recently used first."""
        found = []
        for path in sorted((self.root / "blocks").glob("*/*.safetensors")):
            block = BlockId(path.parent.name, int(path.stem))
            note = self._note(block)
            if note is not None:
                with suppress(FileNotFoundError):
                    found.append(Held(block, note.bytes, path.stat().st_mtime_ns))
        return sorted(found, key=lambda one: one.used_ns)

    @property
    def pinned_here(self) -> frozenset[BlockId]:
        """The blocks that this process keeps from being evicted."""
        with self._turn:
            return frozenset(self._pins)

    def remove(self, block: BlockId) -> bool:
        """Remove a block unless it is in use; return whether it was removed."""
        with self._changing():
            return self._evict(block)

    def _make_room(self, size: int, *, keep: BlockId) -> None:
        held = [one for one in self.held() if one.block != keep]
        total = sum(one.bytes for one in held) + size
        for one in held:
            if total <= self.max_bytes:
                return
            if self._evict(one.block):
                total -= one.bytes
        if total > self.max_bytes:
            raise StorageFull(
                f"{_name(keep)}: {size} bytes do not fit into the block cache of "
                f"{self.max_bytes} bytes beside the blocks in use",
                field="petals_cache_bytes",
                expected=f"at most {self.max_bytes} bytes",
                found=f"{total} bytes",
                cure="raise ZEROPOINT_PETALS_CACHE_BYTES",
            )

    def _evict(self, block: BlockId) -> bool:
        path = self._path(block)
        try:
            descriptor = os.open(path, os.O_RDONLY)
        except FileNotFoundError:
            path.with_suffix(".json").unlink(missing_ok=True)
            return True
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        else:
            path.with_suffix(".json").unlink(missing_ok=True)
            path.unlink(missing_ok=True)
            return True
        finally:
            os.close(descriptor)

    def _quarantine(self, block: BlockId, found: str) -> None:
        """Take a damaged block out of the cache and keep it to be looked at."""
        with self._changing():
            path = self._path(block)
            folder = self.root / "quarantine"
            aside = folder / f"{block.model[:16]}-{block.index:03d}-{secrets.token_hex(4)}"
            path.with_suffix(".json").unlink(missing_ok=True)
            with suppress(FileNotFoundError):
                path.replace(aside)
            kept = sorted(folder.iterdir(), key=lambda one: one.stat().st_mtime_ns)
            for old in kept[:-MAX_QUARANTINED]:
                old.unlink(missing_ok=True)
        self._quarantined(block, f"SHA-256 {found}")

    @contextmanager
    def _changing(self) -> Iterator[None]:
        """Let one thread of one process at a time put in place and evict."""
        with self._turn, (self.root / ".lock").open("ab") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield

    def _note(self, block: BlockId) -> _Note | None:
        try:
            return _Note.model_validate_json(self._path(block).with_suffix(".json").read_bytes())
        except (FileNotFoundError, ValidationError):
            return None

    def _path(self, block: BlockId) -> Path:
        digest.require(block.model, field="model")
        if not 0 <= block.index < MAX_BLOCKS:
            raise InvalidInput(f"block: expected 0 to {MAX_BLOCKS - 1}, found {block.index}")
        return self.root / "blocks" / block.model / f"{block.index:03d}.safetensors"


def _name(block: BlockId) -> str:
    return f"block {block.index} of model {block.model[:12]}"


def _absent(block: BlockId) -> NotFound:
    return NotFound(f"{_name(block)} is not in the cache", cure="zpctl petals cache warm MODEL")
