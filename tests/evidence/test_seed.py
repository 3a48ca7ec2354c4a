import hashlib
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from evidence import seed
from evidence.errors import InvalidInput
from tests.evidence.genuine import CONFIG

DATA = {"data.npy": "0" * 64}


def test_a_seed_is_the_head_of_a_digest() -> None:
    expected = hashlib.sha256(b'{"config":{"seed":7},"data":{"f":"d"},"nonce":null}').hexdigest()
    assert seed.derive({"seed": 7, "name": "x"}, {"f": "d"}) == expected[:16]


@pytest.mark.parametrize("name", sorted(seed.FREE_FIELDS))
def test_fields_that_change_no_bit_do_not_enter(name: str) -> None:
    assert seed.derive({**CONFIG, name: "other"}, DATA) == seed.derive(CONFIG, DATA)


@pytest.mark.parametrize("name", sorted(set(CONFIG) - seed.FREE_FIELDS))
def test_all_other_fields_enter(name: str) -> None:
    other: dict[str, Any] = {**CONFIG, name: "other"}
    assert seed.derive(other, DATA) != seed.derive(CONFIG, DATA)


@pytest.mark.parametrize("name", sorted(seed.NEUTRAL_VALUES))
def test_a_later_field_enters_only_where_it_asks_for_something_new(name: str) -> None:
    neutral = {**CONFIG, name: seed.NEUTRAL_VALUES[name]}
    assert seed.derive(neutral, DATA) == seed.derive(CONFIG, DATA)
    assert seed.derive({**CONFIG, name: "other"}, DATA) != seed.derive(CONFIG, DATA)


def test_data_and_nonce_enter() -> None:
    seeds = {
        seed.derive(CONFIG, DATA),
        seed.derive(CONFIG, {"data.npy": "1" * 64}),
        seed.derive(CONFIG, {"other.npy": "0" * 64}),
        seed.derive(CONFIG, DATA, "nonce"),
    }
    assert len(seeds) == 4


@given(st.integers(0, 2**64 - 1))
def test_a_seed_is_a_big_endian_integer(value: int) -> None:
    text = value.to_bytes(8, "big").hex()
    assert seed.as_integer(text) == value
    assert seed.as_uint32(text) == value % 2**32


@pytest.mark.parametrize("text", ["", "0" * 15, "0" * 17, "A" * 16, "0x" + "0" * 14])
def test_what_is_no_seed_is_refused(text: str) -> None:
    with pytest.raises(InvalidInput):
        seed.as_integer(text)
