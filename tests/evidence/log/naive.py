"""The Merkle tree as RFC 6962 §2.1 writes it: recursive, from the entries alone."""

import hashlib
from collections.abc import Sequence

from evidence.log.merkle import Subtree


def entries_of(count: int, *, mark: str = "entry") -> list[bytes]:
    """Return different entries of different lengths."""
    return [f"{mark} {number} ".encode() + b"x" * (number % 7) for number in range(count)]


def split(count: int) -> int:
    power = 1
    while power * 2 < count:
        power *= 2
    return power


def root(entries: Sequence[bytes]) -> bytes:
    """MTH(D[n])."""
    if not entries:
        return hashlib.sha256(b"").digest()
    if len(entries) == 1:
        return hashlib.sha256(b"\0" + entries[0]).digest()
    k = split(len(entries))
    return hashlib.sha256(b"\1" + root(entries[:k]) + root(entries[k:])).digest()


def path(index: int, entries: Sequence[bytes]) -> list[bytes]:
    """PATH(m, D[n])."""
    if len(entries) == 1:
        return []
    k = split(len(entries))
    if index < k:
        return [*path(index, entries[:k]), root(entries[k:])]
    return [*path(index - k, entries[k:]), root(entries[:k])]


def proof(old: int, entries: Sequence[bytes]) -> list[bytes]:
    """PROOF(m, D[n])."""
    return subproof(old, entries, is_known=True)


def subproof(old: int, entries: Sequence[bytes], *, is_known: bool) -> list[bytes]:
    """SUBPROOF(m, D[n], b)."""
    if old == len(entries):
        return [] if is_known else [root(entries)]
    k = split(len(entries))
    if old <= k:
        return [*subproof(old, entries[:k], is_known=is_known), root(entries[k:])]
    return [*subproof(old - k, entries[k:], is_known=False), root(entries[:k])]


def subtree_of(entries: Sequence[bytes]) -> Subtree:
    def subtree(height: int, index: int) -> bytes:
        assert (index + 1) << height <= len(entries), "asked for a subtree that is not complete"
        return root(entries[index << height : (index + 1) << height])

    return subtree
