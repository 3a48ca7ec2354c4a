"""A safetensors file that is read as it comes: what it holds, and the state digest, in one pass.

`tensors.decode` takes a file into memory, three times over; a verifier only hashes it. This accepts
no file that safetensors refuses. Format: https://github.com/huggingface/safetensors (docs, Format).
"""

import json
import math
from dataclasses import dataclass
from typing import Any, BinaryIO, Final

from evidence import digest
from evidence.errors import IntegrityError
from evidence.tensors import DTYPES

MAX_HEADER_BYTES: Final = 4 << 20
"""Longest header: enough for 20,000 tensors. The format allows 100 MB."""

_LENGTH_BYTES = 8
_CHUNK_BYTES = 1 << 20
_BYTES_OF: Final = {
    name: 1 if name == "BOOL" else int("".join(filter(str.isdigit, name))) // 8 for name in DTYPES
}
_METADATA = "__metadata__"


@dataclass(frozen=True, slots=True)
class Extent:
    """Where a tensor stands in its file."""

    name: str
    dtype: str
    """Spelled as in the file: F32, I64, ..."""
    shape: tuple[int, ...]
    start: int
    """First byte behind the header."""
    end: int


def read_layout(file: BinaryIO, *, size: int, name: str) -> list[Extent]:
    """Return the tensors of a file in the order of their bytes; the file is then at the first.

    Args:
        file: At its beginning.
        size: Of the file, in bytes.
        name: For messages.

    Raises:
        IntegrityError: It is not a safetensors file, or its header is longer than
            MAX_HEADER_BYTES.
    """
    head = file.read(_LENGTH_BYTES)
    length = int.from_bytes(head, "little")
    if len(head) < _LENGTH_BYTES or not 2 <= length <= min(MAX_HEADER_BYTES, size - _LENGTH_BYTES):  # noqa: PLR2004 - `{}`
        raise _refused(name, f"a header of {length} bytes in a file of {size}")
    extents = sorted(
        (
            _extent(key, value, name)
            for key, value in _header(file.read(length), name).items()
            if key != _METADATA
        ),
        key=lambda one: (one.start, one.end, one.name),
    )
    at = 0
    for one in extents:
        if one.start != at:
            raise _refused(name, f"tensor {one.name[:80]!r} at byte {one.start}, behind {at}")
        at = one.end
    if at != size - _LENGTH_BYTES - length:
        raise _refused(name, f"{size - _LENGTH_BYTES - length} bytes for tensors of {at}")
    return extents


def state_digest(file: BinaryIO, extents: list[Extent], *, name: str) -> str:
    """Return what `digest.of_tensors` says of a file's tensors.

    Args:
        file: At the first tensor, as `read_layout` leaves it.
        extents: What `read_layout` returned.
        name: For messages.

    Raises:
        IntegrityError: The file ends early.
    """
    state = digest.StateDigest()
    if [one.name for one in extents] == sorted(one.name for one in extents):
        buffer = memoryview(bytearray(_CHUNK_BYTES))
        for one in extents:
            state.begin(one.name, one.dtype, one.shape)
            left = one.end - one.start
            while left:
                count = file.readinto(buffer[: min(left, _CHUNK_BYTES)])  # type: ignore[attr-defined]  # every BinaryIO of a pack has it
                if not count:
                    raise _refused(name, f"its end {left} bytes before that of {one.name[:80]!r}")
                state.update(buffer[:count])
                left -= count
        return state.hexdigest()
    data = memoryview(file.read())
    for one in sorted(extents, key=lambda extent: extent.name):
        state.begin(one.name, one.dtype, one.shape)
        state.update(data[one.start : one.end])
    return state.hexdigest()


def _header(data: bytes, name: str) -> dict[str, Any]:
    if data[:1] != b"{":
        raise _refused(name, "a header that begins with no brace")
    try:
        header = json.loads(data.decode(), object_pairs_hook=_once, parse_constant=_no_constant)
    except (ValueError, RecursionError) as error:
        raise _refused(name, f"a header that is no JSON object: {str(error)[:200]}") from error
    metadata = header.get(_METADATA, {})
    if not isinstance(metadata, dict) or not all(isinstance(v, str) for v in metadata.values()):
        raise _refused(name, "metadata that is no map of text")
    return dict(header)


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a name stands twice")
    return found


def _no_constant(text: str) -> None:
    raise ValueError(f"{text} is no JSON")


def _extent(key: str, value: Any, name: str) -> Extent:
    if not isinstance(value, dict) or set(value) != {"dtype", "shape", "data_offsets"}:
        raise _refused(name, f"tensor {key[:80]!r} without dtype, shape and data_offsets alone")
    dtype, shape, offsets = value["dtype"], value["shape"], value["data_offsets"]
    numbers_fit = _are_counts(shape) and _are_counts(offsets) and len(offsets) == 2  # noqa: PLR2004 - start and end
    if not isinstance(dtype, str) or dtype not in _BYTES_OF or not numbers_fit:
        raise _refused(name, f"tensor {key[:80]!r} with other fields than the format has")
    start, end = offsets
    if end - start != math.prod(shape) * _BYTES_OF[dtype]:
        raise _refused(name, f"tensor {key[:80]!r} with {end - start} bytes for {shape}"[:300])
    return Extent(key, dtype, tuple(shape), start, end)


def _are_counts(value: Any) -> bool:
    """Return whether it is a list of sizes as a 64-bit machine has them."""
    return isinstance(value, list) and all(
        isinstance(one, int) and not isinstance(one, bool) and 0 <= one < 1 << 63 for one in value
    )


def _refused(name: str, found: str) -> IntegrityError:
    return IntegrityError(f"{name}: expected a safetensors file, found {found}")
