"""Files of tensors read as they come, beside the library that takes them whole."""

import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from evidence import digest, tensor_file, tensors
from evidence.errors import IntegrityError
from evidence.tensors import RawTensor


def read(data: bytes) -> tuple[dict[str, tuple[str, tuple[int, ...]]], str]:
    """Return what the file holds, and its state digest."""
    file = io.BytesIO(data)
    extents = tensor_file.read_layout(file, size=len(data), name="x")
    state = tensor_file.state_digest(file, extents, name="x")
    return {one.name: (one.dtype, one.shape) for one in extents}, state


def file_of(header: Any, body: bytes = b"") -> bytes:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return len(text).to_bytes(8, "little") + text + body


def f32(start: int, end: int, shape: list[int]) -> dict[str, Any]:
    return {"dtype": "F32", "shape": shape, "data_offsets": [start, end]}


DTYPES = st.sampled_from([np.float32, np.float16, np.int64, np.uint8, np.bool_])
ARRAYS: st.SearchStrategy[np.ndarray[Any, Any]] = st.tuples(
    DTYPES, st.lists(st.integers(0, 3), max_size=3)
).map(lambda made: np.ones(made[1], made[0]))
GROUPS = st.dictionaries(st.text(min_size=1, max_size=8), ARRAYS, max_size=6)


@given(GROUPS)
def test_a_file_holds_what_the_library_finds_and_has_the_digest_of_its_tensors(
    group: dict[str, np.ndarray[Any, Any]],
) -> None:
    """Files put wide dtypes first: names are in order or not."""
    group.pop("__metadata__", None)
    data = tensors.encode({name: tensors.from_numpy(array) for name, array in group.items()})
    held = tensors.decode(data)
    shapes = {name: (tensor.dtype, tensor.shape) for name, tensor in held.items()}
    assert read(data) == (shapes, digest.of_tensors(held))


def test_tensors_larger_than_a_chunk_are_read_whole() -> None:
    raw = {
        name: RawTensor("U8", (size,), bytes([7]) * size)
        for name, size in (("a", 3_000_001), ("b", 1 << 20), ("c", 0))
    }
    assert read(tensors.encode(raw))[1] == digest.of_tensors(raw)


VALID = tensors.encode({"a": RawTensor("F32", (2,), b"12345678"), "b": RawTensor("U8", (), b"1")})


@given(st.integers(0, len(VALID) - 1), st.integers(0, 255))
def test_no_file_is_taken_that_the_library_refuses(at: int, byte: int) -> None:
    spoiled = VALID[:at] + bytes([byte]) + VALID[at + 1 :]
    try:
        found = read(spoiled)
    except IntegrityError:
        return
    held = tensors.decode(spoiled)
    shapes = {name: (tensor.dtype, tensor.shape) for name, tensor in held.items()}
    assert found == (shapes, digest.of_tensors(held))


def test_a_file_cut_at_any_byte_is_refused() -> None:
    for end in range(len(VALID)):
        with pytest.raises(IntegrityError):
            read(VALID[:end])


@pytest.mark.parametrize(
    "data",
    [
        file_of({"a": f32(0, 8, [1])}, bytes(8)),  # more bytes than its shape has
        file_of({"a": f32(4, 8, [1])}, bytes(8)),  # a hole at the beginning
        file_of({"a": f32(0, 4, [1]), "b": f32(0, 4, [1])}, bytes(4)),  # two in one place
        file_of({"a": f32(0, 4, [1]), "b": f32(8, 12, [1])}, bytes(12)),  # a hole
        file_of({"a": f32(0, 4, [1])}, bytes(5)),  # bytes behind the last
        file_of({"a": f32(0, 4, [-1, -1])}, bytes(4)),
        file_of({"a": f32(0, 4, [True])}, bytes(4)),
        file_of({"a": {**f32(0, 4, [1]), "dtype": "F99"}}, bytes(4)),
        file_of({"a": {**f32(0, 4, [1]), "more": 1}}, bytes(4)),
        file_of({"a": f32(0, 4, [1]), "__metadata__": {"a": 1}}, bytes(4)),
        file_of(b'{"a":' + json.dumps(f32(0, 0, [0])).encode() + b',"a":'
                + json.dumps(f32(0, 4, [1])).encode() + b"}", bytes(4)),
        file_of(b"[]"),
        file_of(b" {}"),
        file_of(b"{" * 100_000),
        file_of(b'{"a":NaN}'),
        (1 << 60).to_bytes(8, "little") + b"{}",
        b"",
    ],
)  # fmt: skip
def test_what_is_no_such_file_is_refused(data: bytes) -> None:
    with pytest.raises(IntegrityError, match="x: expected a safetensors file"):
        read(data)


def test_a_file_that_ends_while_it_is_read_is_refused(tmp_path: Path) -> None:
    whole, path = tensors.encode({"a": RawTensor("U8", (1 << 21,), bytes(1 << 21))}), tmp_path / "x"
    path.write_bytes(whole)
    with path.open("rb") as file:
        extents = tensor_file.read_layout(file, size=len(whole), name="x")
        path.write_bytes(whole[:-3])
        with pytest.raises(IntegrityError, match="its end"):
            tensor_file.state_digest(file, extents, name="x")
