import hashlib
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as numpy_st

from evidence import digest, tensors
from evidence.errors import IntegrityError, InvalidInput
from evidence.tensors import RawTensor

DTYPES = st.sampled_from(["<f4", ">f4", "<f2", "<f8", "<i8", "<i4", "|u1", "|b1", "<u2"])
ARRAYS = DTYPES.flatmap(
    lambda dtype: numpy_st.arrays(dtype, numpy_st.array_shapes(min_dims=0, min_side=0, max_dims=3))
)
GROUPS = st.dictionaries(
    st.text(min_size=1, max_size=8).filter(lambda n: n != "__metadata__"), ARRAYS, max_size=4
)


@given(GROUPS)
def test_tensors_come_back_from_their_file(group: dict[str, np.ndarray[Any, Any]]) -> None:
    raw = {name: tensors.from_numpy(array) for name, array in group.items()}
    again = tensors.decode(tensors.encode(raw))
    assert again == raw
    assert digest.of_tensors(again) == digest.of_tensors(raw)
    for name, array in group.items():
        found = tensors.to_numpy(again[name])
        assert found.shape == array.shape
        assert found.tobytes() == np.ascontiguousarray(array, found.dtype).tobytes()


def test_equal_tensors_give_equal_files_in_any_order() -> None:
    a, b = (tensors.from_numpy(np.full(3, value, np.float32)) for value in (1, 2))
    assert tensors.encode({"a": a, "b": b}) == tensors.encode({"b": b, "a": a})


def test_a_state_digest_is_what_the_document_says() -> None:
    group = {
        "w": tensors.from_numpy(np.array([[1, 2]], np.float32)),
        "b": tensors.from_numpy(np.array(3, np.int64)),
    }
    expected = hashlib.sha256(
        b'{"dtype":"I64","name":"b","shape":[]}'
        + (3).to_bytes(8, "little")
        + b'{"dtype":"F32","name":"w","shape":[1,2]}'
        + bytes.fromhex("0000803f00000040")
    ).hexdigest()
    assert digest.of_tensors(group) == expected


def test_bfloat16_is_carried_though_numpy_has_it_not() -> None:
    raw = {"x": RawTensor("BF16", (2,), b"\x80\x3f\x00\x40")}
    assert tensors.decode(tensors.encode(raw)) == raw
    with pytest.raises(InvalidInput):
        tensors.to_numpy(raw["x"])


@pytest.mark.parametrize("raw", [RawTensor("F32", (2,), b"1234"), RawTensor("F99", (1,), b"1234")])
def test_bytes_that_do_not_fit_are_not_written(raw: RawTensor) -> None:
    with pytest.raises(InvalidInput):
        tensors.encode({"x": raw})


def test_what_has_no_safetensors_dtype_is_refused() -> None:
    with pytest.raises(InvalidInput):
        tensors.from_numpy(np.array(["text"]))


@pytest.mark.parametrize("data", [b"", b"hello", b"\xff" * 100, b"\x02\0\0\0\0\0\0\0{}more"])
def test_what_is_no_safetensors_file_is_refused(data: bytes) -> None:
    with pytest.raises(IntegrityError):
        tensors.decode(data)


def test_a_file_cut_at_any_byte_is_refused() -> None:
    data = tensors.encode({"x": tensors.from_numpy(np.arange(4, dtype=np.float32))})
    for end in range(len(data)):
        with pytest.raises(IntegrityError):
            tensors.decode(data[:end])
