"""A kernel that fails says so; the process goes on."""

import pytest
from tinygrad import Tensor, dtypes

from evidence.errors import Unavailable
from tests.trainers.kernels.near import needs_library
from trainers.kernels import foreign, onednn
from trainers.kernels.onednn import Argument, Operand

pytestmark = needs_library

SQUARE = (1, 4, 4)
OPERANDS = tuple(
    Operand(role, SQUARE, fixed=True)
    for role in (Argument.DESTINATION, Argument.SOURCE, Argument.WEIGHTS)
)
_FIRST_STEP = 4 + len(OPERANDS) + 1


def square(*, primitive: int | None) -> Tensor:
    """Return 4 x 4 ones times ones; with another address of the primitive if one is given."""
    prepared = foreign.Prepared(onednn.matmul(onednn.load(), OPERANDS))
    table = list(prepared.plan.table)
    table[_FIRST_STEP] = table[_FIRST_STEP] if primitive is None else primitive
    prepared.table = Tensor(table, dtype=dtypes.uint64, device="CPU").contiguous().realize()
    ones = Tensor.ones(*SQUARE).contiguous().realize()
    (product,) = foreign.run(
        prepared, "square", outputs=[foreign.empty(*SQUARE)], inputs=[ones, ones], operations=128
    )
    return product.realize()


def test_a_kernel_that_fails_is_an_error_and_the_next_one_runs() -> None:
    square(primitive=0).numpy()
    with pytest.raises(Unavailable, match="a kernel ended with status 2"):
        foreign.require_success()
    assert square(primitive=None).numpy().min() == 4
    foreign.require_success()


def test_a_plan_that_the_library_refuses_is_an_error() -> None:
    wrong = (*OPERANDS[:2], Operand(Argument.WEIGHTS, (1, 5, 4), fixed=True))
    with pytest.raises(Unavailable, match="matmul_primitive_desc_create"):
        onednn.matmul(onednn.load(), wrong)
