import json
import struct
from typing import Any

import pytest
import rfc8785
from hypothesis import given
from hypothesis import strategies as st

from evidence import canonical
from evidence.errors import InvalidInput

SCALARS = (
    st.none()
    | st.booleans()
    | st.integers(-(2**53) + 1, 2**53 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text()
)
VALUES = st.recursive(
    SCALARS, lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner), max_leaves=20
)


def float_of(bits: str) -> float:
    return float(struct.unpack(">d", bytes.fromhex(bits))[0])


@pytest.mark.parametrize(
    ("bits", "text"),
    [
        ("0000000000000000", "0"),
        ("8000000000000000", "0"),
        ("0000000000000001", "5e-324"),
        ("7fefffffffffffff", "1.7976931348623157e+308"),
        ("4340000000000000", "9007199254740992"),
        ("4430000000000000", "295147905179352830000"),
        ("44b52d02c7e14af5", "9.999999999999997e+22"),
        ("444b1ae4d6e2ef50", "1e+21"),
        ("3eb0c6f7a0b5ed8d", "0.000001"),
        ("3eb0c6f7a0b5ed8c", "9.999999999999997e-7"),
        ("41b3de4355555555", "333333333.3333333"),
    ],
)
def test_numbers_are_spelled_as_in_rfc_8785_appendix_b(bits: str, text: str) -> None:
    assert canonical.encode(float_of(bits)) == text.encode()
    assert canonical.encode(canonical.decode(text.encode())) == text.encode()


def test_the_example_of_rfc_8785_section_3_2_2_is_reproduced() -> None:
    value = {
        "numbers": [333333333.33333329, 1e30, 4.50, 2e-3, 0.000000000000000000000000001],
        "string": "\u20ac$\u000f\u000aA'\u0042\u0022\u005c\\\"/",
        "literals": [None, True, False],
    }
    expected = (
        '{"literals":[null,true,false],"numbers":[333333333.3333333,1e+30,4.5,0.002,1e-27],'
        '"string":"\u20ac$\\u000f\\nA\'B\\"\\\\\\\\\\"/"}'
    )
    assert canonical.encode(value) == expected.encode()


@given(VALUES)
def test_what_is_encoded_is_decoded_to_the_same_bytes(value: Any) -> None:
    data = canonical.encode(value)
    assert canonical.encode(canonical.decode(data)) == data


@given(st.dictionaries(st.text(), VALUES))
def test_canonical_objects_are_accepted(value: dict[str, Any]) -> None:
    data = canonical.encode(value)
    assert canonical.encode(canonical.decode_canonical(data)) == data


@given(st.dictionaries(st.text(max_size=3), SCALARS, min_size=1))
def test_the_quick_check_agrees_with_the_exact_one(value: dict[str, Any]) -> None:
    data = json.dumps(value, separators=(",", ":"), ensure_ascii=False).encode(
        "utf-8", "surrogatepass"
    )
    try:
        is_canonical = rfc8785.dumps(canonical.decode(data)) == data
    except (ValueError, InvalidInput):
        is_canonical = False
    try:
        canonical.decode_canonical(data)
        was_accepted = True
    except InvalidInput:
        was_accepted = False
    assert was_accepted == is_canonical


@pytest.mark.parametrize(
    "data",
    [
        b'{"b":1,"a":2}',
        b'{"a": 1}',
        b'{"a":1.0}',
        b'{"a":1e2}',
        b'{"a":1E2}',
        b'{"a":1e-05}',
        b'{"a":-0}',
        b'{"a":0.10}',
        b'{"a":"\\u0041"}',
        b'{"a":"\\/"}',
        b'{"a":12345678901234567890}',
        b'{"a":0.30000000000000004e0}',
        b'{"a":100000000000000000000000.0}',
        b'{"\xf0\x9f\x98\x80":1,"\xef\xbf\xbf":2} ',
        b'{"\xef\xbf\xbf":2,"\xf0\x9f\x98\x80":1}',
    ],
)
def test_another_spelling_is_refused(data: bytes) -> None:
    with pytest.raises(InvalidInput, match="canonical"):
        canonical.decode_canonical(data)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\xff",
        b"{",
        b'{"a":NaN}',
        b'{"a":Infinity}',
        b'{"a":1e999}',
        b'{"a":1,"a":1}',
        b'{"a":{"b":1,"b":2}}',
        b"9" * 5000,
        b"[" * 100_000,
        b'\xef\xbb\xbf{"a":1}',
    ],
)
def test_what_is_not_strict_json_is_refused(data: bytes) -> None:
    with pytest.raises(InvalidInput):
        canonical.decode(data)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), 2**53, b"x", {1: 2}, "\ud800"])
def test_what_json_does_not_have_is_refused(value: object) -> None:
    with pytest.raises(InvalidInput):
        canonical.encode({"a": value})


def test_nesting_without_end_is_refused() -> None:
    value: list[Any] = []
    for _ in range(100_000):
        value = [value]
    with pytest.raises(InvalidInput):
        canonical.encode(value)


def test_only_an_object_is_an_object() -> None:
    with pytest.raises(InvalidInput, match="found list"):
        canonical.decode_object(b"[]")


@pytest.mark.parametrize(
    "data",
    [b'{"\\ud800":1}', b'{"a":"\\ud800"}', b'["\\uDC00\\uD800"]', b'{"a":{"b":["x\\uDfFf"]}}'],
)
def test_half_a_surrogate_pair_is_no_json(data: bytes) -> None:
    with pytest.raises(InvalidInput, match="surrogates not allowed"):
        canonical.decode(data)
    with pytest.raises(InvalidInput):
        canonical.encode(json.loads(data))


@pytest.mark.parametrize("data", [b'"\\ud83d\\ude00"', b'"\\\\ud800"'])
def test_whole_pairs_and_escaped_backslashes_are_taken(data: bytes) -> None:
    assert canonical.decode(data) == json.loads(data)
