"""Each rule of the allowlist, with the attack that it stops."""

from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from evidence.errors import BadSignature, Conflict, InvalidInput
from evidence.signing import SigningKey, sign_statement
from petals_bridge.allowlist import MAX_PEERS, Allowlist, Right, Taken, as_statement, take
from tests.petals_bridge.listing import FRIEND, NOW, OTHER, STRANGER, entry, listing, signed


@pytest.fixture
def key(tmp_path: Path) -> SigningKey:
    return SigningKey.open_or_create(tmp_path / "service.key")


def accept(key: SigningKey, one: Allowlist, in_force: Taken | None = None) -> Taken:
    return take(one.data, signed(key, one), keys=[key.public], in_force=in_force)


def test_a_listed_peer_has_its_rights_and_no_other() -> None:
    one = listing(1, entry(rights=["serve"]))
    assert one.allows(FRIEND, Right.SERVE, now=NOW)
    assert not one.allows(FRIEND, Right.USE, now=NOW)
    assert one.knows(FRIEND, now=NOW)


def test_a_stranger_has_none() -> None:
    one = listing()
    assert not any(one.allows(STRANGER, right, now=NOW) for right in Right)
    assert not one.knows(STRANGER, now=NOW)


def test_an_entry_grants_nothing_from_its_expiry_on() -> None:
    one = listing(1, entry(expires=NOW))
    assert one.allows(FRIEND, Right.SERVE, now=NOW - timedelta(microseconds=1))
    assert not one.allows(FRIEND, Right.SERVE, now=NOW)
    assert not one.knows(FRIEND, now=NOW)
    assert one.having(Right.SERVE, now=NOW) == frozenset()


def test_a_list_survives_its_toml() -> None:
    one = listing(7, entry(expires=NOW), entry(OTHER, label="Ärger & Söhne", rights=["use"]))
    assert Allowlist.parse(one.data) == one


PLAIN = st.characters(exclude_categories=["Cs", "Cc"], exclude_characters='"\\\x7f')
LABELS = st.text(PLAIN, min_size=1, max_size=80)


@given(LABELS, st.integers(1, 2**53 - 1))
def test_any_label_survives_its_toml(label: str, counter: int) -> None:
    one = listing(counter, entry(label=label))
    assert Allowlist.parse(one.data) == one


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"id": "../../etc/passwd"}, "peer.0.id"),
        ({"id": FRIEND[:-10]}, "peer.0.id"),
        ({"label": ""}, "peer.0.label"),
        ({"label": 'a"\nrights = ["use"]'}, "peer.0.label"),
        ({"rights": []}, "peer.0.rights"),
        ({"rights": ["own"]}, "peer.0.rights.0"),
        ({"rights": ["use", "use"]}, "peer.0.rights"),
        ({"expires": "2026-01-01T00:00:00"}, "peer.0.expires"),
        ({"admin": True}, "peer.0.admin"),
    ],
)
def test_a_bad_field_is_named(fields: dict[str, Any], field: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        listing().replaced([entry() | fields])  # type: ignore[list-item]  # as JSON brings it
    assert caught.value.field == field


def test_a_peer_stands_in_a_list_once() -> None:
    with pytest.raises(InvalidInput, match="each peer once"):
        listing().replaced([*listing().peer, *listing().peer])


@pytest.mark.parametrize(
    "data", [b"", b"counter = 0", b"counter = 'x'", b"\xff", b"counter = 1\npeer = 3", b"a = 1"]
)
def test_garbage_is_no_list(data: bytes) -> None:
    with pytest.raises(InvalidInput):
        Allowlist.parse(data)


def test_a_list_without_end_is_refused_unread() -> None:
    with pytest.raises(InvalidInput, match="at most"):
        Allowlist.parse(b"#" * (1 << 21))


def test_a_list_has_a_bound() -> None:
    assert MAX_PEERS == 1_000


def test_a_good_list_is_taken_in(key: SigningKey) -> None:
    assert accept(key, listing()).allowlist == listing()


def test_a_list_that_a_stranger_signed_is_refused(key: SigningKey, tmp_path: Path) -> None:
    other = SigningKey.open_or_create(tmp_path / "other.key")
    with pytest.raises(BadSignature, match="not a key of this service"):
        take(listing().data, signed(other, listing()), keys=[key.public], in_force=None)


def test_a_retired_key_of_the_service_still_counts(key: SigningKey, tmp_path: Path) -> None:
    new = SigningKey.open_or_create(tmp_path / "new.key")
    keys = [key.public, new.public]
    taken = take(listing().data, signed(key, listing()), keys=keys, in_force=None)
    assert taken.allowlist == listing()


def test_one_changed_byte_of_the_list_is_found(key: SigningKey) -> None:
    data = listing().data.replace(b"friend", b"fiend!")
    with pytest.raises(BadSignature, match="not about this"):
        take(data, signed(key, listing()), keys=[key.public], in_force=None)


def test_one_changed_byte_of_the_signature_is_found(key: SigningKey) -> None:
    envelope = signed(key, listing())
    for at in range(0, len(envelope), 37):
        changed = envelope[:at] + bytes([envelope[at] ^ 1]) + envelope[at + 1 :]
        with pytest.raises(BadSignature):
            take(listing().data, changed, keys=[key.public], in_force=None)


def test_another_statement_of_the_service_signs_no_list(key: SigningKey) -> None:
    other = {**as_statement(listing()), "predicateType": "urn:zeropoint:verdict:v1"}
    with pytest.raises(BadSignature, match="not about this"):
        take(listing().data, sign_statement(key, other), keys=[key.public], in_force=None)


def test_a_signature_for_another_counter_is_refused(key: SigningKey) -> None:
    other = {**as_statement(listing()), "predicate": {"v": 1, "counter": 9}}
    with pytest.raises(BadSignature, match="signs counter 9"):
        take(listing().data, sign_statement(key, other), keys=[key.public], in_force=None)


def test_a_replayed_list_is_refused(key: SigningKey) -> None:
    old, new = listing(1, entry(), entry(OTHER)), listing(2)
    in_force = accept(key, new, accept(key, old))
    with pytest.raises(Conflict, match="a replay"):
        accept(key, old, in_force)


def test_another_list_with_the_same_counter_is_refused(key: SigningKey) -> None:
    in_force = accept(key, listing(3))
    with pytest.raises(Conflict, match="above 3"):
        accept(key, listing(3, entry(OTHER)), in_force)


def test_the_list_in_force_may_be_read_again(key: SigningKey) -> None:
    in_force = accept(key, listing(3))
    assert accept(key, listing(3), in_force) == in_force
