"""The list on the disk: taken in when it changes, refused when it is wrong, and fail-closed."""

from datetime import timedelta
from pathlib import Path

import pytest

from evidence.keyring import Keyring, rotate
from petals_bridge.allowlist import LIST_NAME, SIGNATURE_NAME, Right
from petals_bridge.allowlist_file import AllowlistFile, keys_of
from tests.petals_bridge.listing import FRIEND, NOW, OTHER, entry, keyring, listing, put, signed


@pytest.fixture
def keys(tmp_path: Path) -> Path:
    return tmp_path / "keys"


@pytest.fixture
def ring(keys: Path) -> Keyring:
    return keyring(keys)


@pytest.fixture
def file(tmp_path: Path, keys: Path, ring: Keyring) -> AllowlistFile:
    assert ring.history
    return AllowlistFile(tmp_path, keys=keys_of(keys), clock=lambda: NOW)


def test_without_a_list_nobody_may_do_anything(file: AllowlistFile) -> None:
    assert file.current is None
    assert not file.allows(FRIEND, Right.USE)
    assert not file.knows(FRIEND)
    assert file.having(Right.SERVE) == frozenset()


def test_a_change_is_seen_without_a_restart(
    file: AllowlistFile, ring: Keyring, tmp_path: Path
) -> None:
    put(tmp_path, ring.key, listing(1))
    assert file.allows(FRIEND, Right.USE)
    put(tmp_path, ring.key, listing(2, entry(OTHER)))
    assert not file.allows(FRIEND, Right.USE)
    assert file.allows(OTHER, Right.USE)


def test_a_bad_list_is_refused_and_the_last_good_one_stays(
    file: AllowlistFile, ring: Keyring, tmp_path: Path
) -> None:
    put(tmp_path, ring.key, listing(1))
    assert file.knows(FRIEND)
    (tmp_path / LIST_NAME).write_bytes(listing(2, entry(OTHER)).data)
    assert file.knows(FRIEND)
    assert not file.knows(OTHER)
    assert file.refused is not None
    assert file.refused.code == "bad_signature"
    put(tmp_path, ring.key, listing(2, entry(OTHER)))
    assert file.knows(OTHER)
    assert file.refused is None


@pytest.mark.parametrize("name", [LIST_NAME, SIGNATURE_NAME])
def test_a_file_that_is_gone_leaves_the_last_good_list(
    file: AllowlistFile, ring: Keyring, tmp_path: Path, name: str
) -> None:
    put(tmp_path, ring.key, listing(1))
    assert file.knows(FRIEND)
    (tmp_path / name).unlink()
    assert file.knows(FRIEND)
    assert file.refused is not None


def test_a_replay_is_refused_by_a_process_that_has_just_started(
    ring: Keyring, keys: Path, tmp_path: Path
) -> None:
    old = listing(1, entry(), entry(OTHER))
    put(tmp_path, ring.key, old)
    put(tmp_path, ring.key, listing(2))
    (tmp_path / LIST_NAME).write_bytes(old.data)
    (tmp_path / SIGNATURE_NAME).write_bytes(signed(ring.key, old))
    started = AllowlistFile(tmp_path, keys=keys_of(keys), clock=lambda: NOW)
    assert started.current is None
    assert started.refused is not None
    assert started.refused.code == "conflict"


def test_an_entry_expires_while_the_list_lies_there(
    ring: Keyring, keys: Path, tmp_path: Path
) -> None:
    put(tmp_path, ring.key, listing(1, entry(expires=NOW)))
    moments = iter([NOW - timedelta(seconds=1), NOW])
    file = AllowlistFile(tmp_path, keys=keys_of(keys), clock=lambda: next(moments))
    assert file.allows(FRIEND, Right.USE)
    assert not file.allows(FRIEND, Right.USE)


def test_a_list_outlives_the_rotation_of_the_key(
    file: AllowlistFile, ring: Keyring, keys: Path, tmp_path: Path
) -> None:
    put(tmp_path, ring.key, listing(1))
    new = rotate(keys)
    assert file.knows(FRIEND)
    put(tmp_path, new.key, listing(2, entry(OTHER)))
    assert file.knows(OTHER)


def test_without_the_history_of_keys_no_list_is_good(ring: Keyring, tmp_path: Path) -> None:
    put(tmp_path, ring.key, listing(1))
    file = AllowlistFile(tmp_path, keys=keys_of(tmp_path / "nowhere"), clock=lambda: NOW)
    assert file.current is None
    assert file.refused is not None
