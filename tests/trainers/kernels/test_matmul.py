"""Matrix products: all forms, many shapes, values and gradients."""

import numpy as np
import pytest
from tinygrad import Tensor, TinyJit

from tests.trainers.kernels.near import assert_near, assert_same, draw
from trainers.kernels import foreign
from trainers.kernels.matmul import matmul

pytestmark = pytest.mark.usefixtures("kernel_library")


@pytest.mark.parametrize("ta", [False, True])
@pytest.mark.parametrize("tb", [False, True])
@pytest.mark.parametrize("seed", range(4))
def test_a_product_equals_tinygrads(seed: int, *, ta: bool, tb: bool) -> None:
    rng = np.random.default_rng(seed)
    batch, rows, columns, inner = (int(n) for n in rng.integers(1, 70, size=4))
    a = draw(rng, batch, *((inner, rows) if ta else (rows, inner)))
    b = draw(rng, batch, *((columns, inner) if tb else (inner, columns)))

    def reference(a: Tensor, b: Tensor) -> Tensor:
        return (a.transpose(1, 2) if ta else a) @ (b.transpose(1, 2) if tb else b)

    assert_same(lambda a, b: matmul(a, b, ta=ta, tb=tb), reference, a, b)
    foreign.require_success()


def test_a_captured_product_follows_its_inputs() -> None:
    rng = np.random.default_rng(0)
    product = TinyJit(lambda a, b: matmul(a, b).realize())
    for _ in range(4):
        a, b = draw(rng, 2, 5, 7), draw(rng, 2, 7, 3)
        assert_near(product(a, b), a @ b)


def test_sizes_that_do_not_fit_are_refused() -> None:
    with pytest.raises(AssertionError):
        matmul(Tensor.empty(1, 2, 3), Tensor.empty(1, 4, 5))
