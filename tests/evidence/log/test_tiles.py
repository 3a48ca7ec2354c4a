import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from evidence.errors import IntegrityError, InvalidInput
from evidence.log import merkle, tiles
from evidence.log.hashes import Hashes
from evidence.log.tiles import Tile
from tests.evidence.log import naive
from tests.evidence.log.naive import entries_of

TILES = st.builds(
    Tile, st.none() | st.integers(0, 63), st.integers(0, (1 << 40)), st.integers(1, 256)
)


def hashes_of(entries: list[bytes]) -> Hashes:
    found = Hashes()
    for entry in entries:
        found.append(merkle.leaf_hash(entry))
    return found


def test_the_path_is_that_of_the_specification() -> None:
    assert Tile(0, 1234067).path == "tile/0/x001/x234/067"
    assert Tile(63, 5, 255).path == "tile/63/005.p/255"
    assert Tile(None, 1234, 1).path == "tile/entries/x001/234.p/1"


@given(TILES)
def test_a_path_names_its_tile(tile: Tile) -> None:
    assert tiles.of_path(tile.path) == tile


@pytest.mark.parametrize(
    "path",
    [
        "", "tile", "tile/0", "tile/0/", "tile/0/0", "tile/0/00", "tile/0/0000", "tile/00/000",
        "tile/64/000", "tile/-1/000", "tile/0/x000/001", "tile/0/001/002", "tile/0/x001",
        "tile/0/000.p/0", "tile/0/000.p/256", "tile/0/000.p/01", "tile/0/000.p/", "tile/0/000.p",
        "/tile/0/000", "tile/0/000/", "tile/0/../../../key", "tile/0/000\n",
        "tile/0/\u0661\u0662\u0663",
        "tile/Entries/000", "tile/0/x1000/000", "checkpoint", "tile/0/" + "x001/" * 99 + "000",
    ],
)  # fmt: skip
def test_what_is_no_path_of_a_tile_is_refused(path: str) -> None:
    with pytest.raises(InvalidInput):
        tiles.of_path(path)


def test_a_size_has_the_tiles_of_the_example_of_the_specification() -> None:
    found = [tile for tile in tiles.of_size(70_000) if tile.level is not None]
    assert sum(tile.level == 0 and tile.width == 256 for tile in found) == 273
    assert [tile for tile in found if tile.width < 256 or tile.level] == [
        Tile(0, 273, 112),
        Tile(1, 0),
        Tile(1, 1, 17),
        Tile(2, 0, 1),
    ]
    assert list(tiles.of_size(256))[1:] == [Tile(0, 0), Tile(1, 0, 1)]
    assert list(tiles.of_size(0)) == []


@given(st.integers(0, 140_000), st.integers(0, 140_000))
@settings(max_examples=30)
def test_what_a_larger_tree_adds_is_what_the_smaller_one_lacks(one: int, other: int) -> None:
    old, new = sorted((one, other))
    added = list(tiles.of_size(new, since=old))
    assert set(added) == set(tiles.of_size(new)) - set(tiles.of_size(old))
    assert len(set(added)) == len(added)


@pytest.mark.parametrize("size", [1, 2, 255, 256, 257, 511, 513, 1025])
def test_roots_and_proofs_from_tiles_are_those_of_the_recursive_tree(size: int) -> None:
    entries = entries_of(size)
    subtree = tiles.subtrees(size, hashes_of(entries).tile)
    assert merkle.root(size, subtree) == naive.root(entries)
    for index in {0, size // 2, size - 1}:
        assert merkle.inclusion_proof(index, size, subtree) == naive.path(index, entries)
    for old in {1, size // 2 + 1, size}:
        assert merkle.consistency_proof(old, size, subtree) == naive.proof(old, entries)


def test_two_levels_of_full_tiles_are_those_of_single_nodes() -> None:
    size = 256 * 256 + 300
    hashes = hashes_of([b"%d" % number for number in range(size)])
    leaves = [hashes.leaf(index) for index in range(size)]
    while len(leaves) > 1:
        pairs = zip(leaves[::2], [*leaves[1::2], b""], strict=False)
        leaves = [merkle.node_hash(left, right) if right else left for left, right in pairs]
    assert merkle.root(size, tiles.subtrees(size, hashes.tile)) == leaves[0]
    assert len(hashes.tile(Tile(2, 0, 1))) == 32


def test_a_tile_of_another_length_is_refused() -> None:
    subtree = tiles.subtrees(300, lambda _: b"\0" * 100)
    with pytest.raises(IntegrityError, match=r"tile/0/001\.p/44"):
        subtree(0, 299)


@given(st.lists(st.binary(max_size=40), max_size=20))
def test_a_bundle_gives_its_entries_again(entries: list[bytes]) -> None:
    data = tiles.bundle(entries)
    assert tiles.split_bundle(data, name="x") == entries
    assert len(data) == sum(2 + len(entry) for entry in entries)


def test_the_length_is_a_big_endian_uint16() -> None:
    assert tiles.bundle([b"ab", b"", b"x" * 258]) == b"\0\2ab\0\0\1\2" + b"x" * 258


def test_a_bundle_that_ends_within_an_entry_is_refused() -> None:
    data = tiles.bundle([b"abc", b"de"])
    for end in (1, 2, 4, 6, 8):
        with pytest.raises(IntegrityError, match="bundle 7"):
            tiles.split_bundle(data[:end], name="bundle 7")


def test_an_entry_of_the_largest_length_fits_and_a_longer_one_is_refused() -> None:
    tiles.require_entry(b"x" * 65_535)
    with pytest.raises(InvalidInput, match="at most 65535 bytes, found 65536"):
        tiles.require_entry(b"x" * 65_536)


def test_the_first_place_of_a_leaf_is_found_among_thousands() -> None:
    leaves = [merkle.leaf_hash(b"%d" % number) for number in range(5000)]
    hashes = Hashes()
    for leaf in leaves:
        hashes.append(leaf)
    hashes.append(leaves[17])
    assert [hashes.find(leaf) for leaf in leaves] == list(range(5000))
    assert hashes.find(merkle.leaf_hash(b"absent")) is None


def test_a_leaf_is_not_found_across_the_border_of_two_others() -> None:
    hashes = Hashes()
    first, second = b"\1" * 32, b"\2" * 32
    hashes.append(first)
    hashes.append(second)
    assert hashes.find(first[16:] + second[:16]) is None


def test_leaves_that_share_a_slot_are_told_apart() -> None:
    hashes = Hashes()
    leaves = [b"\7" * 8 + bytes([number]) * 24 for number in range(40)]
    for leaf in leaves:
        hashes.append(leaf)
    assert [hashes.find(leaf) for leaf in leaves] == list(range(40))
