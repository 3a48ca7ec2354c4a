"""Which tensors of two states differ, and by how much."""

import numpy as np
import pytest

from evidence import tensors
from evidence.records import CHECKPOINT_FILES
from evidence.tensors import RawTensor
from trainers.deviation import differences

MODEL, OPTIMIZER, _ = CHECKPOINT_FILES


def raw(*values: float, dtype: str = "float32") -> RawTensor:
    return tensors.from_numpy(np.array(values, dtype))


def state(**named: RawTensor) -> dict[str, dict[str, RawTensor]]:
    return {MODEL: named}


def test_equal_states_have_no_difference() -> None:
    assert list(differences(state(a=raw(1, 2)), state(a=raw(1, 2)))) == []


def test_tensors_come_by_file_and_name_with_their_largest_deviation() -> None:
    one = {OPTIMIZER: {"a": raw(1)}, MODEL: {"b": raw(1, 2, 3), "a": raw(5)}}
    other = {OPTIMIZER: {"a": raw(3)}, MODEL: {"b": raw(1, 2.5, 2), "a": raw(5)}}
    found = [(d.file, d.name, d.largest, d.elements, d.of) for d in differences(one, other)]
    assert found == [(MODEL, "b", 1.0, 2, 3), (OPTIMIZER, "a", 2.0, 1, 1)]


@pytest.mark.parametrize(
    "other",
    [
        raw(1, 2, dtype="float64"),
        raw(1, 2, 3),
        RawTensor("BF16", (2,), b"\0\0\0\0"),
        raw(1, np.nan),
    ],
    ids=["dtype", "shape", "bfloat16", "nan"],
)
def test_what_cannot_be_subtracted_has_no_deviation(other: RawTensor) -> None:
    (one,) = differences(state(a=raw(1, 2)), state(a=other))
    assert one.largest is None
    assert one.elements > 0


def test_zeros_of_two_signs_differ_by_nothing() -> None:
    (one,) = differences(state(a=raw(0.0)), state(a=raw(-0.0)))
    assert (one.largest, one.elements) == (0.0, 1)


def test_a_tensor_that_one_side_lacks_is_a_difference() -> None:
    (one,) = differences(state(), state(a=raw(1)))
    assert (one.name, one.largest) == ("a", None)
