"""How tests compare a kernel with tinygrad's own: forward and gradients, on seeded random data."""

from collections.abc import Callable

import numpy as np
import pytest
from tinygrad import Tensor

from trainers.kernels import library

TOLERANCE = 2e-5
"""Largest difference allowed, relative to the largest value; float32 sums in another order."""

needs_library = pytest.mark.skipif(
    library.choose("auto").name != "onednn",
    reason="onednn-cpu-gomp or the system's libgomp is not here",
)


def draw(rng: np.random.Generator, *shape: int) -> Tensor:
    """Return standard normal numbers, float32."""
    return Tensor(rng.standard_normal(shape, dtype=np.float32)).realize()


def assert_near(found: Tensor, wanted: Tensor) -> None:
    """Compare two tensors value by value."""
    assert found.shape == wanted.shape
    a, b = found.numpy(), wanted.numpy()
    assert np.abs(a - b).max() <= TOLERANCE * max(1.0, np.abs(b).max())


def assert_same(
    ours: Callable[..., Tensor], reference: Callable[..., Tensor], *inputs: Tensor
) -> None:
    """Compare values, and gradients of a curved function of them, of two computations."""
    assert_near(ours(*inputs), reference(*inputs))
    curved = [(compute(*inputs) * 0.1).tanh().sum() for compute in (ours, reference)]
    for found, wanted in zip(*(each.gradient(*inputs) for each in curved), strict=True):
        assert_near(found, wanted)
