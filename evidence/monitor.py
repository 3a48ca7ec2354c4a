"""Reading a whole log: is it the tree that was signed, and does it tell any run twice?

An operator with every key can tell a run anew, and each pack of it passes by itself. Both tellings
stand in the log for ever, and whoever reads it sees them.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from evidence import binding, seal
from evidence.errors import BadProof, ServiceError
from evidence.log import merkle, tiles
from evidence.log.hashes import Hashes
from evidence.log.tiles import Tile
from evidence.log.tree_head import TreeHead
from evidence.signing import unverified_statement

_ONE_OF_EACH = {
    binding.COMMITMENT: "commitment",
    binding.CHECKPOINT: "checkpoint",
    binding.SEAL: "seal",
    seal.PREDICATE_TYPE: "seal",
}
"""What a run has one of (a checkpoint: one of each step), by `predicateType`."""


@dataclass(frozen=True, slots=True)
class Told:
    """What an entry says once and for all about a run."""

    kind: str
    """commitment, checkpoint or seal."""
    run_id: str
    step: int | None
    """Of a checkpoint."""


@dataclass(frozen=True, slots=True)
class Double:
    """Two entries that say different things about one thing."""

    told: Told
    first: int
    """Place of the first."""
    second: int


def entries(head: TreeHead, fetch: Callable[[str], bytes]) -> Iterator[bytes]:
    """Yield every entry of the tree of `head`, in order; the last one only if all are its.

    Args:
        head: Of a tree head whose signature was verified.
        fetch: Returns the bundle of a path such as tile/entries/000.p/5.

    Raises:
        BadProof: The entries are not those of the tree.
        IntegrityError: A bundle is damaged.
    """
    hashes = Hashes()
    last = None
    for tile in tiles.of_size(head.size):
        if tile.level is not None:
            break
        for entry in _bundle(tile, fetch):
            if last is not None:
                yield last
            hashes.append(merkle.leaf_hash(entry))
            last = entry
    found = merkle.root(head.size, tiles.subtrees(head.size, hashes.tile))
    if found != head.root:
        raise BadProof(
            "the entries that the log serves are not those of the tree head that it signed",
            expected=head.root.hex(),
            found=found.hex(),
        )
    if last is not None:
        yield last


def _bundle(tile: Tile, fetch: Callable[[str], bytes]) -> list[bytes]:
    held = tiles.split_bundle(fetch(tile.path), name=tile.path)
    if len(held) != tile.width:
        raise BadProof(
            f"{tile.path}: expected {tile.width} entries, found {len(held)}",
            expected=str(tile.width),
            found=str(len(held)),
        )
    return held


def doubles(entries: Iterable[bytes]) -> Iterator[Double]:
    """Yield each entry that says again, and otherwise, what an earlier one said of a run."""
    seen: dict[Told, tuple[int, bytes]] = {}
    for place, entry in enumerate(entries):
        told = _told(entry)
        if told is None:
            continue
        first, leaf = seen.setdefault(told, (place, merkle.leaf_hash(entry)))
        if leaf != merkle.leaf_hash(entry):
            yield Double(told, first, place)


def _told(entry: bytes) -> Told | None:
    """Return what an entry says once and for all, or None where it says nothing of the kind."""
    try:
        statement: dict[str, Any] = unverified_statement(entry)
    except ServiceError:  # anything may stand in a log
        return None
    kind = _ONE_OF_EACH.get(str(statement.get("predicateType")))
    said = statement.get("predicate")
    if kind is None or not isinstance(said, dict):
        return None
    step = said.get("step") if kind == "checkpoint" else None
    return Told(kind, str(said.get("run_id")), step if isinstance(step, int) else None)
