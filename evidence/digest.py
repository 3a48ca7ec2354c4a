"""SHA-256 digests of bytes, files and named tensors, as 64 lower-case hex digits."""

import hashlib
import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from evidence import canonical
from evidence.errors import DigestMismatch, InvalidInput
from evidence.tensors import RawTensor

_HEX = re.compile(r"[0-9a-f]{64}")

ZERO = "0" * 64
"""What stands in place of a previous digest where there is none."""


def of_bytes(data: bytes | memoryview) -> str:
    """Return the SHA-256 of `data`."""
    return hashlib.sha256(data).hexdigest()


def of_file(path: Path) -> str:
    """Read the file at `path` in pieces and return its SHA-256.

    Raises:
        OSError: The file cannot be read.
    """
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def of_record(value: object) -> str:
    """Return the SHA-256 of the canonical JSON of `value`."""
    return of_bytes(canonical.encode(value))


class StateDigest:
    """The state digest of named tensors, which come in name order (code points).

    For each tensor: the canonical JSON of `{"dtype", "name", "shape"}`, then its elements as
    little-endian bytes in row-major order.
    """

    def __init__(self) -> None:
        self._state = hashlib.sha256()

    def begin(self, name: str, dtype: str, shape: Sequence[int]) -> None:
        """Begin the next tensor."""
        header = {"name": name, "dtype": dtype, "shape": list(shape)}
        self._state.update(canonical.encode(header))

    def update(self, data: bytes | memoryview) -> None:
        """Take in some bytes of its elements."""
        self._state.update(data)

    def hexdigest(self) -> str:
        """Return the digest."""
        return self._state.hexdigest()


def of_tensors(tensors: Mapping[str, RawTensor]) -> str:
    """Return the state digest of named tensors; see `StateDigest`."""
    state = StateDigest()
    for name in sorted(tensors):
        tensor = tensors[name]
        state.begin(name, tensor.dtype, tensor.shape)
        state.update(tensor.data)
    return state.hexdigest()


def require(value: str, *, field: str) -> str:
    """Return `value` if it is a SHA-256 in lower-case hex.

    Raises:
        InvalidInput: It is not.
    """
    if not _HEX.fullmatch(value):
        raise InvalidInput(
            f"{field}: expected 64 lower-case hex digits, found {value[:80]!r}", field=field
        )
    return value


def require_equal(thing: str, *, expected: str, found: str) -> None:
    """Raise unless two digests are equal.

    Raises:
        DigestMismatch: They differ; both stand in the message.
    """
    if expected != found:
        raise DigestMismatch(
            f"{thing}: expected SHA-256 {expected}, found {found}", expected=expected, found=found
        )
