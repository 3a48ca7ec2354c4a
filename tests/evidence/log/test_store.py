import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from evidence.errors import (
    BadSignature,
    Conflict,
    IntegrityError,
    InvalidInput,
    NotFound,
    StorageFull,
)
from evidence.log import folder as files
from evidence.log import merkle, tiles, tree_head
from evidence.log.note import KeyType, Signer
from evidence.log.store import Log
from evidence.log.tiles import Tile
from tests.evidence.disks import small_disk
from tests.evidence.log import naive
from tests.evidence.log.naive import entries_of

COUNT = 300
"""One full bundle, one partial one, two levels of hashes."""


def write(folder: Path, count: int = COUNT, signer: Signer | None = None) -> None:
    with Log(folder) as log:
        log.append_many(entries_of(count))
        if signer is not None:
            log.sign(signer)


def names(folder: Path) -> set[str]:
    found = (path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix() for path in found} - {"log.lock"}


def bytes_of(folder: Path) -> dict[str, bytes]:
    return {name: (folder / name).read_bytes() for name in names(folder)}


def test_an_entry_gets_the_next_place_and_keeps_it(folder: Path) -> None:
    with Log(folder) as log:
        assert [log.append(b"a"), log.append(b""), log.append(b"a"), log.append(b"b")] == [
            0,
            1,
            0,
            2,
        ]
        assert log.append_many([b"b", b"c", b"c", b"a"]) == [2, 3, 3, 0]
    with Log(folder) as log:
        assert (log.size, log.append(b"c"), log.append(b"d")) == (4, 3, 4)
        assert [log.entry(index) for index in range(5)] == [b"a", b"", b"b", b"c", b"d"]
        assert (log.find(b"b"), log.find(b"z")) == (2, None)


@given(st.lists(st.lists(st.binary(max_size=3), max_size=6), max_size=6))
@settings(max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_log_that_is_opened_again_is_as_it_was(
    tmp_path: Path, batches: list[list[bytes]]
) -> None:
    folder = tmp_path / "log"
    shutil.rmtree(folder, ignore_errors=True)
    distinct: list[bytes] = []
    for batch in batches:
        with Log(folder) as log:
            places = log.append_many(batch)
            distinct += [one for one in dict.fromkeys(batch) if one not in distinct]
            assert places == [distinct.index(one) for one in batch]
            assert log.root() == naive.root(distinct)


def test_the_folder_has_the_tiles_of_its_size_and_no_other(folder: Path) -> None:
    for count in (1, 3, 255, 256, 257, COUNT, 600):
        write(folder, count)
        assert names(folder) == {tile.path for tile in tiles.of_size(count)}


def test_roots_and_proofs_are_those_of_the_recursive_tree(folder: Path) -> None:
    entries = entries_of(COUNT)
    with Log(folder) as log:
        log.append_many(entries)
        for size in (1, 255, 256, 257, COUNT):
            assert log.root(size) == naive.root(entries[:size])
            assert log.inclusion(size - 1, size) == naive.path(size - 1, entries[:size])
            assert log.consistency(size) == naive.proof(size, entries)
        assert log.consistency(0) == []


def test_what_others_read_follows_from_the_tiles_alone(folder: Path, log_signer: Signer) -> None:
    entries = entries_of(COUNT)
    write(folder, COUNT, log_signer)
    head = tree_head.verify(files.read_head(folder), log_signer.verifier).head
    subtree = tiles.subtrees(head.size, lambda tile: files.read_tile(folder, tile.path))
    assert merkle.root(head.size, subtree) == head.root == naive.root(entries)
    assert merkle.inclusion_proof(7, head.size, subtree) == naive.path(7, entries)
    data = files.read_tile(folder, "tile/entries/001.p/44")
    assert tiles.split_bundle(data, name="x") == entries[256:]


def test_a_narrower_tile_is_cut_from_the_one_that_took_its_place(folder: Path) -> None:
    write(folder, 5)
    old = {tile.path: files.read_tile(folder, tile.path) for tile in tiles.of_size(5)}
    for count in (9, 256, COUNT):
        write(folder, count)
        assert {path: files.read_tile(folder, path) for path in old} == old


@pytest.mark.parametrize("path", ["tile/0/001.p/45", "tile/0/002", "tile/2/000", "tile/0/001"])
def test_a_tile_that_the_log_does_not_have_is_not_found(folder: Path, path: str) -> None:
    write(folder)
    with pytest.raises(NotFound):
        files.read_tile(folder, path)


def test_what_is_not_synced_is_not_served(folder: Path) -> None:
    with Log(folder) as log:
        log.append(b"a")
        with pytest.raises(NotFound):
            log.tile("tile/0/000.p/1")
        log.sync()
        assert log.tile("tile/0/000.p/1") == merkle.leaf_hash(b"a")
        assert log.tile("tile/entries/000.p/1") == b"\0\1a"


def test_an_entry_that_is_too_long_is_refused_and_nothing_of_its_batch_stays(folder: Path) -> None:
    with Log(folder) as log:
        with pytest.raises(InvalidInput, match="at most 65535"):
            log.append_many([b"a", b"x" * 65_536])
        assert log.size == 0
        assert log.append(b"x" * 65_535) == 0
    with Log(folder) as log:
        assert log.entry(0) == b"x" * 65_535


@pytest.mark.parametrize("call", [lambda log: log.root(4), lambda log: log.entry(3)])
def test_there_is_nothing_beyond_the_size(folder: Path, call: Callable[[Log], object]) -> None:
    with Log(folder) as log:
        log.append_many(entries_of(3))
        for wrong in (call, lambda log: log.entry(-1), lambda log: log.inclusion(3)):
            with pytest.raises(InvalidInput):
                wrong(log)


def test_a_second_writer_is_refused(folder: Path) -> None:
    with Log(folder), pytest.raises(Conflict, match="another process writes"):
        Log(folder)
    with Log(folder) as log:
        assert log.size == 0


# -- crashes -----------------------------------------------------------------------------------


def test_a_crash_before_any_file_leaves_a_log_that_goes_on(folder: Path, tmp_path: Path) -> None:
    """Every prefix of the files that a sync writes, in their order, is opened and mended."""
    write(folder, 250)
    before = bytes_of(folder)
    write(folder, 600)
    whole = bytes_of(folder)
    written = [tile.path for tile in tiles.of_size(600, since=250)]
    for count in range(len(written) + 1):
        crashed = tmp_path / f"crashed-{count}"
        for name, data in {**before, **{name: whole[name] for name in written[:count]}}.items():
            (crashed / name).parent.mkdir(parents=True, exist_ok=True)
            (crashed / name).write_bytes(data)
        half = crashed / "tile" / "entries" / ".writing-002.p"
        half.write_bytes(b"half")
        with Log(crashed) as log:
            assert log.size in {250, 256, 512, 600}
            assert log.append_many(entries_of(600)) == list(range(600))
        assert bytes_of(crashed) == whole


def test_hash_tiles_that_are_missing_are_made_again(folder: Path) -> None:
    write(folder)
    whole = bytes_of(folder)
    shutil.rmtree(folder / "tile" / "0")
    (folder / "tile" / "1" / "000.p" / "1").unlink()
    write(folder)
    assert bytes_of(folder) == whole


@pytest.mark.parametrize("name", sorted(tile.path for tile in tiles.of_size(COUNT)))
def test_every_file_that_is_torn_or_changed_is_refused_by_name(folder: Path, name: str) -> None:
    write(folder)
    data = (folder / name).read_bytes()
    spoiled = [data[:end] for end in (0, 1, len(data) // 2, len(data) - 1)]
    spoiled += [bytes([*data[:at], data[at] ^ 1, *data[at + 1 :]]) for at in (0, 3, len(data) - 1)]
    spoiled.append(data + b"\0\1x")
    for one in spoiled:
        (folder / name).write_bytes(one)
        with pytest.raises(IntegrityError, match=name.split(".p", maxsplit=1)[0]):
            Log(folder)
    (folder / name).write_bytes(data)
    with Log(folder) as log:
        assert log.size == COUNT


@pytest.mark.parametrize("name", ["tile/entries/000", "tile/entries/001.p/44"])
def test_a_bundle_that_is_missing_is_refused_by_name(folder: Path, name: str) -> None:
    write(folder)
    (folder / name).unlink()
    with pytest.raises(IntegrityError, match=r"tile/entries/000|tile/0/001\.p/44|only 256"):
        Log(folder)


@pytest.mark.parametrize("name", ["tile/0/note.txt", "tile/entries/000.bak", "tile/x"])
def test_a_foreign_file_among_the_tiles_is_refused_by_name(folder: Path, name: str) -> None:
    write(folder)
    (folder / name).write_bytes(b"")
    with pytest.raises(IntegrityError, match=name):
        Log(folder)


def test_an_entry_that_changed_since_the_start_is_not_returned(folder: Path) -> None:
    with Log(folder) as log:
        log.append_many(entries_of(COUNT))
        log.sync()
        path = folder / "tile/entries/000"
        path.write_bytes(path.read_bytes().replace(b"entry 9 ", b"entry 8 "))
        with pytest.raises(IntegrityError, match="tile/entries/000: entry 9"):
            log.entry(9)


def test_a_full_disk_leaves_the_log_whole_and_a_later_sync_goes_on(
    tmp_path: Path, log_signer: Signer
) -> None:
    entries = entries_of(40) + [b"%d" % number + b"x" * 900 for number in range(40)]
    with small_disk(tmp_path, size="160k") as disk:
        folder = disk / "log"
        with Log(folder) as log:
            log.append_many(entries[:40])
            signed = log.sign(log_signer)
            (disk / "ballast").write_bytes(b"x" * (shutil.disk_usage(disk).free - 8192))
            log.append_many(entries[40:])
            for _ in range(2):
                with pytest.raises(StorageFull):
                    log.sign(log_signer)
            assert (log.synced, log.size) == (40, 80)
            assert names(folder) == {tile.path for tile in tiles.of_size(40)} | {"checkpoint"}
            assert files.read_head(folder) == signed
            (disk / "ballast").unlink()
            log.sign(log_signer)
        with Log(folder) as log:
            assert log.root() == naive.root(entries)


# -- tree heads --------------------------------------------------------------------------------


def test_a_signed_tree_head_is_kept_and_given_again(folder: Path, log_signer: Signer) -> None:
    with Log(folder) as log:
        with pytest.raises(NotFound):
            files.read_head(folder)
        empty = log.sign(log_signer)
        assert empty.startswith(
            b"example.org/log\n0\n47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=\n"
        )
        log.append(b"a")
        signed = log.sign(log_signer)
        assert log.sign(log_signer) == signed == files.read_head(folder)
    with Log(folder) as log:
        assert log.head is not None
        assert (log.head.head.size, log.sign(log_signer)) == (1, signed)


def test_another_key_does_not_sign_a_log_that_one_signed(
    folder: Path, log_signer: Signer, tmp_path: Path
) -> None:
    other = Signer.open_or_create(tmp_path / "log.key", KeyType.ED25519, name="example.org/log")
    write(folder, 3, log_signer)
    with Log(folder) as log:
        log.append(b"more")
        with pytest.raises(BadSignature):
            log.sign(other)


def test_a_log_that_lost_signed_entries_is_refused(folder: Path, log_signer: Signer) -> None:
    write(folder, 5, log_signer)
    signed = files.read_head(folder)
    shutil.rmtree(folder / "tile")
    with pytest.raises(IntegrityError, match="5 entries were signed, but 0 are there"):
        Log(folder)
    (folder / "checkpoint").unlink()
    with Log(folder) as log:
        log.append_many(entries_of(5, mark="other"))
    (folder / "checkpoint").write_bytes(signed)
    with pytest.raises(IntegrityError, match="another root"):
        Log(folder)


def test_a_torn_checkpoint_is_refused(folder: Path, log_signer: Signer) -> None:
    write(folder, 5, log_signer)
    (folder / "checkpoint").write_bytes(files.read_head(folder)[:-9])
    with pytest.raises(IntegrityError, match="checkpoint"):
        Log(folder)


def test_only_a_tree_head_of_this_log_is_published(folder: Path, log_signer: Signer) -> None:
    with Log(folder) as log:
        log.append_many(entries_of(3))
        first = log.sign(log_signer)
        log.append(b"more")
        log.sign(log_signer)
        with pytest.raises(Conflict, match="older"):
            log.publish(first)
        foreign = tree_head.TreeHead("example.org/log", 4, b"\0" * 32)
        beyond = tree_head.TreeHead("example.org/log", 5, log.root())
        for head in (foreign, beyond):
            with pytest.raises(InvalidInput, match="not of this log"):
                log.publish(tree_head.sign(head, log_signer))


def test_the_tail_is_kept_across_many_small_syncs(folder: Path) -> None:
    entries = entries_of(530)
    with Log(folder) as log:
        for begin in range(0, 530, 53):
            log.append_many(entries[begin : begin + 53])
            log.sync()
            assert log.entry(begin) == entries[begin]
        assert [log.entry(index) for index in range(530)] == entries
    assert names(folder) == {tile.path for tile in tiles.of_size(530)}
    assert Tile(None, 2, 18).path in names(folder)
