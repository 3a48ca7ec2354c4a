"""The Merkle tree of the log: hashes, roots, proofs, and what a proof must show.

Everything here is a pure function. Generation takes the hashes of complete subtrees from a
`Subtree`, verification takes nothing but its arguments. Source: RFC 6962 §2.1 (the tree and both
proofs), RFC 9162 §2.1.3.2 and §2.1.4.2 (verification).
"""

import hashlib
from collections.abc import Callable, Sequence

from evidence.errors import BadProof, InvalidInput

HASH_BYTES = 32
"""Length of a hash: SHA-256."""

MAX_SIZE = 1 << 63
"""Above every size of a tree: tlog-tiles has 64 levels of tiles, signed counters 63 bits."""

MAX_PROOF_HASHES = 63
"""Most hashes of a proof (C2SP tlog-witness)."""

EMPTY_ROOT = hashlib.sha256(b"").digest()
"""Root of the tree without entries."""

Subtree = Callable[[int, int], bytes]
"""Returns the root of entries [index * 2**height, (index + 1) * 2**height), 32 bytes, all of which
are in the tree: subtree(height, index)."""


def leaf_hash(entry: bytes) -> bytes:
    """Return SHA-256(0x00 || entry)."""
    return hashlib.sha256(b"\0" + entry).digest()


def node_hash(left: bytes, right: bytes) -> bytes:
    """Return SHA-256(0x01 || left || right)."""
    return hashlib.sha256(b"\1" + left + right).digest()


def root(size: int, subtree: Subtree) -> bytes:
    """Return the root of the tree of the first `size` entries.

    Raises:
        InvalidInput: There is no such size.
    """
    _require_range("size", size, 0, MAX_SIZE)
    return _range_root(0, size, subtree) if size else EMPTY_ROOT


def inclusion_proof(index: int, size: int, subtree: Subtree) -> list[bytes]:
    """Return the hashes that lead from entry `index` to the root at `size`, leaf's sibling first.

    Raises:
        InvalidInput: The entry is not in that tree.
    """
    _require_range("size", size, 1, MAX_SIZE)
    _require_range("index", index, 0, size)
    proof, start, end = [], 0, size
    while end - start > 1:
        middle = start + _split(end - start)
        if index < middle:
            proof.append(_range_root(middle, end, subtree))
            end = middle
        else:
            proof.append(_range_root(start, middle, subtree))
            start = middle
    return proof[::-1]


def consistency_proof(old_size: int, size: int, subtree: Subtree) -> list[bytes]:
    """Return the hashes that show that the tree at `size` goes on from that at `old_size`.

    Empty where the sizes are equal or the old one is 0.

    Raises:
        InvalidInput: The old tree is not within the new one.
    """
    _require_range("size", size, 0, MAX_SIZE)
    _require_range("old size", old_size, 0, size + 1)
    if old_size in {0, size}:
        return []
    proof, start, end = [], 0, size
    while end != old_size:
        middle = start + _split(end - start)
        if old_size <= middle:
            proof.append(_range_root(middle, end, subtree))
            end = middle
        else:
            proof.append(_range_root(start, middle, subtree))
            start = middle
    if start:
        proof.append(_range_root(start, end, subtree))
    return proof[::-1]


def require_included(
    leaf: bytes, *, index: int, size: int, proof: Sequence[bytes], root: bytes
) -> None:
    """Raise unless `proof` leads from a leaf hash at `index` to the root of a tree of `size`.

    Raises:
        BadProof: It does not, or there is no such place in such a tree.
    """
    what = f"inclusion of entry {index} in {size}"
    if not 0 <= index < size < MAX_SIZE:
        raise BadProof(f"{what}: expected an index below the size")
    _require_hashes(what, [leaf, root, *proof])
    node, last, found = index, size - 1, leaf
    for sibling in proof:
        if last == 0:
            raise BadProof(f"{what}: the proof goes on above the root")
        if node & 1 or node == last:
            found = node_hash(sibling, found)
            while not node & 1 and node:
                node, last = node >> 1, last >> 1
        else:
            found = node_hash(found, sibling)
        node, last = node >> 1, last >> 1
    if last:
        raise BadProof(f"{what}: the proof ends below the root")
    _require_equal(what, expected=root, found=found)


def require_consistent(
    *, old_size: int, old_root: bytes, size: int, root: bytes, proof: Sequence[bytes]
) -> None:
    """Raise unless `proof` shows that the new tree is the old one with entries added.

    Raises:
        BadProof: It does not, or the old tree is the larger one.
    """
    what = f"consistency of {old_size} with {size}"
    if not 0 <= old_size <= size < MAX_SIZE:
        raise BadProof(f"{what}: expected an old size up to the new one")
    _require_hashes(what, [old_root, root, *proof])
    if old_size in {0, size}:
        if proof:
            raise BadProof(f"{what}: expected no hashes, found {len(proof)}")
        if old_size == 0:
            _require_equal(what, expected=EMPTY_ROOT, found=old_root)
        if old_size == size:
            _require_equal(what, expected=root, found=old_root)
        return
    _walk_consistency(what, (old_size, old_root), (size, root), proof)


def _walk_consistency(
    what: str, old: tuple[int, bytes], new: tuple[int, bytes], proof: Sequence[bytes]
) -> None:
    (old_size, old_root), (size, root) = old, new
    # The old root is itself a subtree of the new tree where its size is a power of two.
    hashes = list(proof) if old_size & (old_size - 1) else [old_root, *proof]
    if not hashes or not proof:
        raise BadProof(f"{what}: expected hashes, found none")
    node, last = old_size - 1, size - 1
    while node & 1:
        node, last = node >> 1, last >> 1
    found_old = found = hashes[0]
    for sibling in hashes[1:]:
        if last == 0:
            raise BadProof(f"{what}: the proof goes on above the root")
        if node & 1 or node == last:
            found_old, found = node_hash(sibling, found_old), node_hash(sibling, found)
            while not node & 1 and node:
                node, last = node >> 1, last >> 1
        else:
            found = node_hash(found, sibling)
        node, last = node >> 1, last >> 1
    if last:
        raise BadProof(f"{what}: the proof ends below the root")
    _require_equal(f"{what}, old root", expected=old_root, found=found_old)
    _require_equal(f"{what}, new root", expected=root, found=found)


def _range_root(start: int, end: int, subtree: Subtree) -> bytes:
    """Return the root of entries [start, end); `start` is a multiple of a power of two >= both."""
    width = end - start
    if width & (width - 1) == 0:
        height = width.bit_length() - 1
        return subtree(height, start >> height)
    middle = start + _split(width)
    return node_hash(_range_root(start, middle, subtree), _range_root(middle, end, subtree))


def _split(width: int) -> int:
    """Return the largest power of two below `width`, which is at least 2."""
    return 1 << (width - 1).bit_length() - 1


def _require_range(what: str, value: int, first: int, end: int) -> None:
    if not first <= value < end:
        raise InvalidInput(f"{what}: expected {first} to {end - 1}, found {value}", field=what)


def _require_hashes(what: str, hashes: Sequence[bytes]) -> None:
    for one in hashes:
        if len(one) != HASH_BYTES:
            raise BadProof(f"{what}: expected hashes of {HASH_BYTES} bytes, found {len(one)}")


def _require_equal(what: str, *, expected: bytes, found: bytes) -> None:
    if expected != found:
        raise BadProof(
            f"{what}: the proof leads to {found.hex()}, not to {expected.hex()}",
            expected=expected.hex(),
            found=found.hex(),
        )
