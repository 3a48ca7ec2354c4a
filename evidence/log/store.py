"""The log: entries in an order that never changes, and what can be proved of them."""

from collections.abc import Iterable, Iterator
from pathlib import Path
from types import TracebackType
from typing import Self

from evidence import lock
from evidence.errors import Conflict, IntegrityError, InvalidInput
from evidence.files import write_atomic
from evidence.log import folder, merkle, recovery, tiles, tree_head
from evidence.log.merkle import Subtree
from evidence.log.note import Signer
from evidence.log.tiles import WIDTH, Tile
from evidence.log.tree_head import SignedTreeHead, TreeHead

LOCK = "log.lock"
"""Name of the file that the one writer holds."""


class Log:
    """The one writer of a log; not for several threads at once.

    What was appended is on the disk after `sync`, and `sign` calls it: a crash before loses the
    entries since, of which no tree head speaks. Appending them again gives them their places.

    Args:
        root: The folder, made if it is not there; `evidence.log.folder` says what is in it. All
            of its entries are read and hashed.

    Raises:
        Conflict: Another writer holds it.
        IntegrityError: A file in it is damaged, missing or foreign; its name is told.
        StorageFull: There is no space for hash tiles that have to be made again.
        OSError: It cannot be read or made.
    """

    def __init__(self, root: Path) -> None:
        root.mkdir(parents=True, exist_ok=True)
        self.root_folder = root
        self._lock = lock.hold(
            root / LOCK, refusal=f"another process writes to the log in {root}", cure="stop it"
        )
        try:
            self._hashes, self._tail = recovery.load(root)
            self._head = recovery.load_head(root, self._hashes)
        except BaseException:
            self._lock.close()
            raise
        self._synced = len(self._hashes)

    @property
    def size(self) -> int:
        """Entries, including those that are not on the disk yet."""
        return len(self._hashes)

    @property
    def synced(self) -> int:
        """Entries that are on the disk."""
        return self._synced

    @property
    def head(self) -> SignedTreeHead | None:
        """The last tree head that was signed, with its cosignatures; None before the first."""
        return self._head

    def append(self, entry: bytes) -> int:
        """Add an entry, unless it is there; return the index of its first place.

        Raises:
            InvalidInput: It is longer than 65,535 bytes.
        """
        tiles.require_entry(entry)
        leaf = merkle.leaf_hash(entry)
        index = self._hashes.find(leaf)
        if index is not None:
            return index
        self._hashes.append(leaf)
        self._tail.append(entry)
        return self.size - 1

    def append_many(self, entries: Iterable[bytes]) -> list[int]:
        """Add entries in order, each as `append`; none if one of them is too long.

        Raises:
            InvalidInput: One is longer than 65,535 bytes.
        """
        given = list(entries)
        for entry in given:
            tiles.require_entry(entry)
        return [self.append(entry) for entry in given]

    def find(self, entry: bytes) -> int | None:
        """Return the index of an entry, or None where it is not in the log."""
        return self._hashes.find(merkle.leaf_hash(entry))

    def sync(self) -> None:
        """Force what was appended to the disk: first entries, then the hashes over them.

        Raises:
            StorageFull: There is no space; what is there is whole, and a later call goes on.
            OSError: The disk failed otherwise; as above.
        """
        old, new = self._synced, self.size
        if old == new:
            return
        for tile in tiles.of_size(new, since=old):
            data = self._bundle(tile) if tile.level is None else self._hashes.tile(tile)
            folder.place(self.root_folder, tile, data)
        del self._tail[: new // WIDTH * WIDTH - old // WIDTH * WIDTH]
        self._synced = new

    def root(self, size: int | None = None) -> bytes:
        """Return the root of the first `size` entries; of all, without a size.

        Raises:
            InvalidInput: There are not so many.
        """
        wanted = self.size if size is None else size
        return merkle.root(wanted, self._subtrees(wanted))

    def entry(self, index: int) -> bytes:
        """Return an entry.

        Raises:
            InvalidInput: There is none.
            IntegrityError: Its bundle is damaged.
            OSError: It cannot be read.
        """
        self._require_size(index + 1)
        first = self._synced // WIDTH * WIDTH
        if index >= first:
            return self._tail[index - first]
        bundle = Tile(None, index // WIDTH)
        data = folder.read_tile(self.root_folder, bundle.path)
        entries = tiles.split_bundle(data, name=bundle.path)
        entry = entries[index % WIDTH] if index % WIDTH < len(entries) else b""
        if merkle.leaf_hash(entry) != self._hashes.leaf(index):
            raise IntegrityError(f"{bundle.path}: entry {index} is not what was appended")
        return entry

    def entries(self) -> Iterator[bytes]:
        """Yield every entry, in order, a bundle read at a time.

        Raises:
            IntegrityError: A bundle is damaged.
            OSError: It cannot be read.
        """
        at = 0
        for index in range(self._synced // WIDTH):
            path = Tile(None, index).path
            for entry in tiles.split_bundle(folder.read_tile(self.root_folder, path), name=path):
                if merkle.leaf_hash(entry) != self._hashes.leaf(at):
                    raise IntegrityError(f"{path}: entry {at} is not what was appended")
                yield entry
                at += 1
        yield from list(self._tail)

    def inclusion(self, index: int, size: int | None = None) -> list[bytes]:
        """Return the hashes that prove that entry `index` is among the first `size`.

        Raises:
            InvalidInput: It is not.
        """
        wanted = self.size if size is None else size
        return merkle.inclusion_proof(index, wanted, self._subtrees(wanted))

    def consistency(self, old_size: int, size: int | None = None) -> list[bytes]:
        """Return the hashes that prove that the tree at `size` goes on from that at `old_size`.

        Raises:
            InvalidInput: It does not.
        """
        wanted = self.size if size is None else size
        return merkle.consistency_proof(old_size, wanted, self._subtrees(wanted))

    def tile(self, path: str) -> bytes:
        """Return what HTTP serves at a path such as tile/0/x001/234; see `folder.read_tile`.

        Raises:
            InvalidInput: The path names no tile.
            NotFound: The log has none there on the disk.
            IntegrityError: The file is damaged.
            OSError: It cannot be read.
        """
        return folder.read_tile(self.root_folder, path)

    def sign(self, signer: Signer) -> bytes:
        """Sync, sign the tree head, keep it as `checkpoint`, and return it.

        Where nothing came since the last one, that is returned, with its cosignatures.

        Raises:
            BadSignature: The last tree head is not by this signer.
            InvalidInput: It is of another origin.
            StorageFull: There is no space; nothing was signed.
            OSError: The disk failed otherwise.
        """
        self.sync()
        if self._head is not None:
            tree_head.verify(self._head.note.data, signer.verifier)
            if self._head.head.size == self.size:
                return self._head.note.data
        signed = tree_head.sign(TreeHead(signer.verifier.name, self.size, self.root()), signer)
        self.publish(signed)
        return signed

    def publish(self, signed: bytes) -> None:
        """Keep a tree head of this log, e.g. with cosignatures, as `checkpoint`.

        Raises:
            InvalidInput: It is malformed, or this log's is another at its size.
            Conflict: A later one was kept already.
            StorageFull: There is no space; the one before is kept.
            OSError: The disk failed otherwise.
        """
        parsed = SignedTreeHead.parse(signed)
        size = parsed.head.size
        if size > self._synced or self.root(size) != parsed.head.root:
            raise InvalidInput(f"the tree head of size {size} is not of this log")
        if self._head is not None and size < self._head.head.size:
            raise Conflict(f"the tree head of size {size} is older than {self._head.head.size}")
        write_atomic(self.root_folder / folder.CHECKPOINT, signed)
        self._head = parsed

    def close(self) -> None:
        """Sync, and let another writer in.

        Raises:
            StorageFull: As for `sync`; the log is let go all the same.
            OSError: As for `sync`.
        """
        try:
            self.sync()
        finally:
            self._lock.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def _bundle(self, tile: Tile) -> bytes:
        begin = tile.index * WIDTH - self._synced // WIDTH * WIDTH
        return tiles.bundle(self._tail[begin : begin + tile.width])

    def _subtrees(self, size: int) -> Subtree:
        self._require_size(size)
        return tiles.subtrees(size, self._hashes.tile)

    def _require_size(self, size: int) -> None:
        if not 0 <= size <= self.size:
            raise InvalidInput(f"expected at most {self.size} entries, found {size}", field="size")
