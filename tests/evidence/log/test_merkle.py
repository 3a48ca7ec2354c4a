import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from evidence.errors import BadProof, InvalidInput
from evidence.log import merkle
from tests.evidence.log import naive
from tests.evidence.log.naive import entries_of, subtree_of

LEAVES = [
    bytes.fromhex(text)
    for text in (
        "", "00", "10", "2021", "3031", "40414243", "5051525354555657",
        "606162636465666768696a6b6c6d6e6f",
    )
]  # fmt: skip
"""Entries of the reference tests of Certificate Transparency (google/certificate-transparency)."""

ROOTS = [
    "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
    "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
    "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
    "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
    "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
    "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
    "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
    "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
]

SMALL = 17
PAIRS = [(old, new) for new in range(SMALL) for old in range(new + 1)]


def flipped(data: bytes) -> bytes:
    return bytes([data[0] ^ 1]) + data[1:]


@pytest.mark.parametrize("size", range(9))
def test_roots_are_those_of_the_reference_tests(size: int) -> None:
    entries = LEAVES[:size]
    assert merkle.root(size, subtree_of(entries)).hex() == ROOTS[size]
    assert naive.root(entries).hex() == ROOTS[size]


def test_a_path_is_that_of_the_reference_tests() -> None:
    found = merkle.inclusion_proof(5, 8, subtree_of(LEAVES))
    assert [one.hex() for one in found] == [
        "bc1a0643b12e4d2d7c77918f44e0f4f79a838b6cf9ec5b5c283e1f4d88599e6b",
        "ca854ea128ed050b41b35ffc1b87b8eb2bde461e9e3b5596ece6b9d5975a0ae0",
        ROOTS[4],
    ]


@pytest.mark.parametrize("size", range(1, SMALL))
def test_every_path_is_that_of_the_recursive_tree_and_verifies(size: int) -> None:
    entries = entries_of(size)
    for index, entry in enumerate(entries):
        proof = merkle.inclusion_proof(index, size, subtree_of(entries))
        assert proof == naive.path(index, entries)
        merkle.require_included(
            merkle.leaf_hash(entry), index=index, size=size, proof=proof, root=naive.root(entries)
        )


@pytest.mark.parametrize(("old", "new"), PAIRS)
def test_every_consistency_proof_is_that_of_the_recursive_tree_and_verifies(
    old: int, new: int
) -> None:
    entries = entries_of(new)
    proof = merkle.consistency_proof(old, new, subtree_of(entries))
    assert proof == (naive.proof(old, entries) if old else [])
    merkle.require_consistent(
        old_size=old,
        old_root=naive.root(entries[:old]),
        size=new,
        root=naive.root(entries),
        proof=proof,
    )


@given(st.integers(1, 700), st.data())
@settings(max_examples=40)
def test_proofs_of_larger_trees_are_those_of_the_recursive_tree(
    size: int, data: st.DataObject
) -> None:
    entries = entries_of(size)
    index = data.draw(st.integers(0, size - 1))
    old = data.draw(st.integers(1, size))
    subtree = subtree_of(entries)
    assert merkle.root(size, subtree) == naive.root(entries)
    assert merkle.inclusion_proof(index, size, subtree) == naive.path(index, entries)
    assert merkle.consistency_proof(old, size, subtree) == naive.proof(old, entries)


@pytest.mark.parametrize("size", range(1, SMALL))
def test_an_inclusion_with_anything_changed_is_refused(size: int) -> None:
    entries = entries_of(size)
    root = naive.root(entries)
    for index, entry in enumerate(entries):
        leaf, proof = merkle.leaf_hash(entry), naive.path(index, entries)
        spoiled = [(flipped(leaf), index, proof, root), (leaf, index, proof, flipped(root))]
        spoiled += [(leaf, other, proof, root) for other in range(-1, size + 2) if other != index]
        for at in range(len(proof)):
            changed = [*proof[:at], flipped(proof[at]), *proof[at + 1 :]]
            spoiled.append((leaf, index, changed, root))
            spoiled.append((leaf, index, proof[:at] + proof[at + 1 :], root))
        spoiled += [(leaf, index, [*proof, root], root), (leaf, index, [leaf, *proof], root)]
        for one, place, hashes, top in spoiled:
            with pytest.raises(BadProof):
                merkle.require_included(one, index=place, size=size, proof=hashes, root=top)


@pytest.mark.parametrize(("old", "new"), PAIRS)
def test_a_consistency_with_anything_changed_is_refused(old: int, new: int) -> None:
    entries = entries_of(new)
    old_root, root, proof = naive.root(entries[:old]), naive.root(entries), []
    if old:
        proof = naive.proof(old, entries)
    spoiled = [(old, flipped(old_root), root, proof), (old, old_root, root, [*proof, root])]
    if old:
        spoiled.append((old, old_root, flipped(root), proof))
        others = (other for other in range(-1, new + 2) if other != old)
        spoiled += [(other, old_root, root, proof) for other in others]
    for at in range(len(proof)):
        changed = [*proof[:at], flipped(proof[at]), *proof[at + 1 :]]
        spoiled.append((old, old_root, root, changed))
        spoiled.append((old, old_root, root, proof[:at] + proof[at + 1 :]))
    for size, first, second, hashes in spoiled:
        with pytest.raises(BadProof):
            merkle.require_consistent(
                old_size=size, old_root=first, size=new, root=second, proof=hashes
            )


@pytest.mark.parametrize("size", range(1, SMALL))
def test_an_inclusion_in_a_tree_of_another_size_is_refused_where_the_path_differs(
    size: int,
) -> None:
    entries = entries_of(size)
    leaf, proof, root = merkle.leaf_hash(entries[0]), naive.path(0, entries), naive.root(entries)
    for other in (*range(1, size), size + SMALL):
        if len(naive.path(0, entries_of(other))) == len(proof):
            continue
        with pytest.raises(BadProof):
            merkle.require_included(leaf, index=0, size=other, proof=proof, root=root)


def test_a_node_is_no_leaf() -> None:
    left, right = merkle.leaf_hash(b"a"), merkle.leaf_hash(b"b")
    root = merkle.node_hash(left, right)
    assert merkle.leaf_hash(left + right) != root
    merkle.require_included(left, index=0, size=2, proof=[right], root=root)
    leaf = merkle.leaf_hash(left + right)
    with pytest.raises(BadProof):
        merkle.require_included(leaf, index=0, size=1, proof=[], root=root)


def test_a_hash_of_another_length_is_refused() -> None:
    root = merkle.leaf_hash(b"a")
    with pytest.raises(BadProof, match="32 bytes"):
        merkle.require_included(root, index=0, size=2, proof=[b"short"], root=root)


@pytest.mark.parametrize(("index", "size"), [(0, 0), (-1, 3), (3, 3), (0, 1 << 63)])
def test_there_is_no_proof_of_what_is_not_there(index: int, size: int) -> None:
    with pytest.raises(InvalidInput):
        merkle.inclusion_proof(index, size, subtree_of(entries_of(3)))


@pytest.mark.parametrize(("old", "size"), [(-1, 3), (4, 3), (0, -1)])
def test_there_is_no_consistency_of_a_larger_tree_with_a_smaller_one(old: int, size: int) -> None:
    with pytest.raises(InvalidInput):
        merkle.consistency_proof(old, size, subtree_of(entries_of(3)))
