"""Convolutions: many shapes, values and all gradients."""

import numpy as np
import pytest
from tinygrad import Tensor

from tests.trainers.kernels.near import assert_same, draw
from trainers.kernels import foreign
from trainers.kernels.convolution import conv2d

pytestmark = pytest.mark.usefixtures("kernel_library")


@pytest.mark.parametrize("has_bias", [True, False])
@pytest.mark.parametrize("seed", range(8))
def test_a_convolution_equals_tinygrads(seed: int, *, has_bias: bool) -> None:
    rng = np.random.default_rng(seed)
    batch, channels, outputs = (int(n) for n in rng.integers(1, 20, size=3))
    height, width = (int(n) for n in rng.integers(6, 20, size=2))
    kernel = int(rng.choice([1, 3, 5]))
    stride, padding = int(rng.integers(1, 3)), int(rng.integers(0, 3))
    inputs = [draw(rng, batch, channels, height, width)]
    inputs += [draw(rng, outputs, channels, kernel, kernel)]
    inputs += [draw(rng, outputs)] if has_bias else []

    def ours(x: Tensor, w: Tensor, b: Tensor | None = None) -> Tensor:
        return conv2d(x, w, b, stride=stride, padding=padding)

    def reference(x: Tensor, w: Tensor, b: Tensor | None = None) -> Tensor:
        return x.conv2d(w, b, stride=stride, padding=padding)

    assert_same(ours, reference, *inputs)
    foreign.require_success()


def test_channels_that_do_not_fit_are_refused() -> None:
    with pytest.raises(AssertionError):
        conv2d(Tensor.empty(1, 2, 8, 8), Tensor.empty(4, 3, 3, 3))
