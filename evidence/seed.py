"""The seed of a run, derived from what decides its bits: the config and the data.

Fields that cannot change a bit of the result (a name, how often to report) are left out, so that
two runs which must agree have one seed.
"""

import hashlib
from collections.abc import Mapping

from evidence import canonical
from evidence.errors import InvalidInput

FREE_FIELDS = frozenset(
    {
        "recipe", "name", "keep_last", "metric_every", "checkpoint_every", "max_wall_s",
        "max_restarts", "device", "kernel_set", "threads", "beam", "approval",
    }
)  # fmt: skip
"""Fields of a RunConfig that do not enter the seed (`affects_bits` is false there).

`device`, `kernel_set`, `threads` and `beam` are free so that the same config asks for the same run
everywhere; whether two of them then agree in bits is measured, not assumed.
"""

HEX_DIGITS = 16
"""Length of a seed in hex digits: 8 bytes."""


def derive(config: Mapping[str, object], data: Mapping[str, str], nonce: str | None = None) -> str:
    """Return the seed as 16 lower-case hex digits.

    They are the first 8 bytes of SHA-256 over the canonical JSON of
    `{"config": config without FREE_FIELDS, "data": {file: sha256}, "nonce": nonce}`.

    Args:
        config: A whole RunConfig as JSON values.
        data: SHA-256 of each raw data file, by file name.
        nonce: Further text that must change the seed, or None.

    Raises:
        InvalidInput: A value cannot be written as canonical JSON.
    """
    bound = {name: value for name, value in config.items() if name not in FREE_FIELDS}
    record = {"config": bound, "data": dict(data), "nonce": nonce}
    return hashlib.sha256(canonical.encode(record)).hexdigest()[:HEX_DIGITS]


def as_integer(seed: str) -> int:
    """Return the seed as numpy takes it: its 8 bytes as a big-endian unsigned integer.

    Raises:
        InvalidInput: `seed` is not 16 lower-case hex digits.
    """
    if len(seed) != HEX_DIGITS or set(seed) - set("0123456789abcdef"):
        raise InvalidInput(
            f"seed: expected {HEX_DIGITS} lower-case hex digits, found {seed[:80]!r}", field="seed"
        )
    return int(seed, 16)


def as_uint32(seed: str) -> int:
    """Return the seed as tinygrad takes it: the low 32 bits of `as_integer`.

    Raises:
        InvalidInput: `seed` is not 16 lower-case hex digits.
    """
    return as_integer(seed) & 0xFFFFFFFF
