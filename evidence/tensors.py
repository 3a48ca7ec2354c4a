"""Named tensors as bytes: safetensors files without any framework.

Not a tensor library: elements stay little-endian bytes, so that every dtype (BF16 too) can be
hashed and compared exactly. Format: https://github.com/huggingface/safetensors (docs, Format).
"""

import sys
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import safetensors

from evidence.errors import IntegrityError, InvalidInput

_NUMPY_OF = {
    "F64": "<f8", "F32": "<f4", "F16": "<f2", "I64": "<i8", "I32": "<i4", "I16": "<i2",
    "I8": "|i1", "U64": "<u8", "U32": "<u4", "U16": "<u2", "U8": "|u1", "BOOL": "|b1",
}  # fmt: skip
_OF_NUMPY = {np.dtype(spelled): name for name, spelled in _NUMPY_OF.items()}
_SERIALIZER_OF = {
    "F64": "float64", "F32": "float32", "F16": "float16", "BF16": "bfloat16", "I64": "int64",
    "I32": "int32", "I16": "int16", "I8": "int8", "U64": "uint64", "U32": "uint32",
    "U16": "uint16", "U8": "uint8", "BOOL": "bool",
}  # fmt: skip

DTYPES = tuple(_SERIALIZER_OF)
"""The dtypes that a pack may hold, spelled as in safetensors."""


@dataclass(frozen=True, slots=True)
class RawTensor:
    """One tensor as it stands in a file."""

    dtype: str
    """Spelled as in safetensors: F32, F16, BF16, I64, U8, BOOL, ..."""
    shape: tuple[int, ...]
    """Row-major; () is a scalar."""
    data: bytes
    """The elements, little-endian, row-major."""


def from_numpy(array: np.ndarray) -> RawTensor:
    """Copy a numpy array of any numeric dtype and shape.

    Raises:
        InvalidInput: The dtype has no safetensors spelling.
    """
    little = array.dtype.newbyteorder("<")
    if little not in _OF_NUMPY:
        raise InvalidInput(f"expected a numeric dtype that safetensors has, found {array.dtype}")
    contiguous = np.ascontiguousarray(array, dtype=little)
    return RawTensor(_OF_NUMPY[little], tuple(array.shape), contiguous.tobytes())


def to_numpy(tensor: RawTensor) -> np.ndarray:
    """Return the tensor as a read-only numpy array over the same bytes.

    Raises:
        InvalidInput: numpy has no such dtype (BF16).
    """
    if tensor.dtype not in _NUMPY_OF:
        raise InvalidInput(f"expected a dtype that numpy has, found {tensor.dtype}")
    return np.frombuffer(tensor.data, dtype=_NUMPY_OF[tensor.dtype]).reshape(tensor.shape)


def encode(tensors: Mapping[str, RawTensor]) -> bytes:
    """Return a safetensors file; equal tensors give equal bytes.

    Raises:
        InvalidInput: A dtype is unknown, or a tensor's bytes do not fit its shape.
    """
    assert sys.byteorder == "little", "safetensors' serializer takes native bytes"
    # The views keep each address valid until serialize() has copied from it.
    views = {name: np.frombuffer(t.data, dtype=np.uint8) for name, t in tensors.items()}
    specs = {
        name: safetensors.TensorSpec(
            dtype=_serializer_dtype(tensors[name].dtype),
            shape=tensors[name].shape,
            data_ptr=view.ctypes.data,
            data_len=view.nbytes,
        )
        for name, view in sorted(views.items())
    }
    try:
        return bytes(safetensors.serialize(specs, None))
    except safetensors.SafetensorError as error:
        raise InvalidInput(f"the tensors cannot be written as safetensors: {error}") from error


def decode(data: bytes, *, name: str = "safetensors file") -> dict[str, RawTensor]:
    """Return the tensors of a safetensors file, validated (offsets, shapes, dtypes, no holes).

    Raises:
        IntegrityError: `data` is not a valid file.
    """
    try:
        pairs = safetensors.deserialize(data)  # type: ignore[no-untyped-call]  # has no annotations
    except safetensors.SafetensorError as error:
        raise IntegrityError(f"{name}: expected a safetensors file, found: {error}") from error
    return {
        key: RawTensor(info["dtype"], tuple(info["shape"]), bytes(info["data"]))
        for key, info in sorted(pairs)
    }


def _serializer_dtype(dtype: str) -> str:
    if dtype not in _SERIALIZER_OF:
        raise InvalidInput(f"expected a safetensors dtype, found {dtype!r}")
    return _SERIALIZER_OF[dtype]
