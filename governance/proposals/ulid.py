"""Ids of proposals: `prop-` and a ULID, 48 bits of time and 80 of chance in Crockford's base 32.

Source: https://github.com/ulid/spec. Their order is that of milliseconds.
"""

from collections.abc import Callable
from datetime import datetime

ALPHABET = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
PREFIX = "prop-"

_RANDOM_BITS = 80
_LETTERS = 26


def new_id(now: datetime, *, randbits: Callable[[int], int]) -> str:
    """Return a new id.

    Args:
        now: The present, not before 1970.
        randbits: Returns so many random bits; `secrets.randbits`.
    """
    value = int(now.timestamp() * 1000) << _RANDOM_BITS | randbits(_RANDOM_BITS)
    letters = [ALPHABET[value >> 5 * place & 31] for place in reversed(range(_LETTERS))]
    return PREFIX + "".join(letters)
