"""Where two states differ: the first tensor in name order, and by how much. Light: numpy only."""

from collections.abc import Iterator, Mapping

import numpy as np

from evidence import tensors
from evidence.errors import InvalidInput
from evidence.records import CHECKPOINT_FILES, Record
from evidence.tensors import RawTensor

State = Mapping[str, Mapping[str, RawTensor]]
"""Tensors of a checkpoint by file name and name."""


class TensorDifference(Record):
    """One tensor that differs between two states."""

    file: str
    """Name of the checkpoint's file."""
    name: str
    largest: float | None
    """Largest absolute deviation of an element; null where the two cannot be subtracted."""
    elements: int
    """How many elements differ; all where the two cannot be subtracted."""
    of: int
    """How many there are."""


def differences(expected: State, found: State) -> Iterator[TensorDifference]:
    """Yield each tensor that differs, files as a checkpoint has them, tensors in name order."""
    for file in CHECKPOINT_FILES:
        left, right = expected.get(file, {}), found.get(file, {})
        for name in sorted({*left, *right}):
            if left.get(name) != right.get(name):
                yield _difference(file, name, left.get(name), right.get(name))


def _difference(
    file: str, name: str, left: RawTensor | None, right: RawTensor | None
) -> TensorDifference:
    told = left or right
    assert told is not None, "one side has it"
    count = int(np.prod(told.shape, dtype=np.int64))
    if left is None or right is None or (left.dtype, left.shape) != (right.dtype, right.shape):
        return TensorDifference(file=file, name=name, largest=None, elements=count, of=count)
    try:
        one, other = tensors.to_numpy(left), tensors.to_numpy(right)
    except InvalidInput:  # bfloat16, which numpy does not have
        return TensorDifference(file=file, name=name, largest=None, elements=count, of=count)
    size = one.dtype.itemsize
    differing = (_bytes(one, size) != _bytes(other, size)).any(axis=1)
    with np.errstate(invalid="ignore", over="ignore"):
        apart = np.abs(one.astype(np.float64) - other.astype(np.float64))
    largest = float(apart.max())
    return TensorDifference(
        file=file,
        name=name,
        largest=largest if np.isfinite(largest) else None,
        elements=int(differing.sum()),
        of=count,
    )


def _bytes(array: np.ndarray, size: int) -> np.ndarray:
    """Return the bytes of each element, (N, size), uint8."""
    return np.frombuffer(array.tobytes(), np.uint8).reshape(-1, size)
