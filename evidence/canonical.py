"""Canonical JSON: the only way a record becomes bytes (RFC 8785, JSON Canonicalization Scheme).

Anything that is hashed or signed is encoded here. No other JSON encoder touches a record.
"""

import json
import math
import re
from typing import Any, NoReturn

import rfc8785

from evidence.errors import InvalidInput

_LARGEST_INTEGER = 2**53 - 1

_LONG_INTEGER = re.compile(rb"[:,\[\s-]\d{16}")
"""May be an integer beyond 2**53 - 1, after what can stand before a number."""

_OTHER_NUMBER = re.compile(r"(?<=[:,\[])-?\d+(?:\.\d+)?(?:e[+-]\d+|(?<=\.0))(?=[,}\]])")
"""A number that Python's JSON spells otherwise: with an exponent, or a whole float."""

_OTHER_NUMBER_SIGNS = ("e-", "e+", ".0,", ".0}", ".0]")
"""Where none of these stands, there is no _OTHER_NUMBER; far quicker than the pattern."""

_SURROGATE = re.compile(rb"\\u[dD][89a-fA-F]")
"""May be half of a surrogate pair; nothing else can bring one into a value."""

_ENCODER = json.JSONEncoder(sort_keys=True, separators=(",", ":"), ensure_ascii=False)


def encode(value: object) -> bytes:
    """Return the canonical JSON of `value`: UTF-8, sorted keys, no white space, no newline.

    Raises:
        InvalidInput: `value` holds NaN, an infinity, an integer beyond 2**53 - 1, half a surrogate
            pair, or a type that JSON does not have.

    Source: RFC 8785 §3.2.
    """
    try:
        return rfc8785.dumps(value)  # type: ignore[arg-type]  # its type is narrower than it checks
    except (rfc8785.CanonicalizationError, RecursionError, UnicodeEncodeError) as error:
        raise InvalidInput(f"a record cannot be written as canonical JSON: {error}") from error


def decode(data: bytes) -> Any:
    """Return the value of JSON `data`.

    Refused are duplicate keys, NaN, infinities, and escapes of half a surrogate pair, which are no
    characters and have no UTF-8 (RFC 8785 §3.2.2.2).

    A number that a float64 cannot hold as an integer (RFC 8785 writes 1e16 with 17 digits) is
    returned as a float, so that `encode` gives the same bytes again.

    Raises:
        InvalidInput: `data` is not strict JSON in UTF-8.
    """
    parse_int = _parse_integer if _LONG_INTEGER.search(b":" + data) else None
    try:
        value = json.loads(
            data.decode("utf-8"),
            object_pairs_hook=_unique_pairs,
            parse_constant=_refuse_constant,
            parse_float=_parse_float,
            parse_int=parse_int,
        )
        if _SURROGATE.search(data):
            _ENCODER.encode(value).encode("utf-8")
    except (ValueError, RecursionError) as error:
        raise InvalidInput(f"expected JSON in UTF-8, found: {error}") from error
    return value


def decode_object(data: bytes) -> dict[str, Any]:
    """Return the JSON object in `data`.

    Raises:
        InvalidInput: `data` is not strict JSON, or not an object.
    """
    value = decode(data)
    if not isinstance(value, dict):
        raise InvalidInput(f"expected a JSON object, found {type(value).__name__}")
    return value


def decode_canonical(data: bytes) -> dict[str, Any]:
    """Return the JSON object in `data`, which must be its canonical JSON.

    Raises:
        InvalidInput: `data` is not a JSON object, or `encode` would write it otherwise.
    """
    value = decode_object(data)
    if not _is_plainly_canonical(data, value) and encode(value) != data:
        raise InvalidInput("expected canonical JSON (RFC 8785), found another spelling of it")
    return value


def _is_plainly_canonical(data: bytes, value: object) -> bool:
    """Return whether the standard library's fast encoder proves that `data` is canonical.

    False means unknown. In ASCII the two encoders sort keys alike, escape alike and write the same
    shortest digits; they differ in _OTHER_NUMBER, which is spelled again here. (Should a string
    hold such a number, the two sides differ, and the answer is unknown.)
    """
    if not data.isascii() or _LONG_INTEGER.search(data):
        return False
    plain = _ENCODER.encode(value)
    if any(sign in plain for sign in _OTHER_NUMBER_SIGNS):
        plain = _OTHER_NUMBER.sub(_spell_number, plain)
    return plain.encode() == data


def _spell_number(match: re.Match[str]) -> str:
    return rfc8785.dumps(float(match[0])).decode()


def _unique_pairs(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    result = dict(pairs)
    if len(result) != len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise InvalidInput(f"the key {twice!r} stands twice in one JSON object", field=twice)
    return result


def _refuse_constant(name: str) -> NoReturn:
    raise InvalidInput(f"expected a number or null, found {name}")


def _parse_float(text: str) -> float:
    value = float(text)
    if math.isinf(value):
        raise InvalidInput(f"expected a number within float64, found {text[:40]}")
    return value


def _parse_integer(text: str) -> float:
    value = float(text) if len(text) > 20 else int(text)  # noqa: PLR2004 - beyond int64 anyway
    if abs(value) <= _LARGEST_INTEGER:
        return value
    return _parse_float(text)
