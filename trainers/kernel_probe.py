"""Whether a device computes: a real kernel and a real gradient, held against numpy."""

import time
from typing import Any

import numpy as np
from tinygrad import Device, Tensor

from evidence.errors import DeviceMissing
from trainers import runtime

_SIZE = 64
_TOLERANCE = 1e-3


def check(device: str) -> dict[str, Any]:
    """Run a matrix product and the gradient of its squared sum on `device`.

    Returns:
        `device`, `seconds`, `largest_error` (against numpy, absolute) and `process`
        (`runtime.describe`).

    Raises:
        DeviceMissing: It does not open, does not run, or computes something else.
    """
    rng = np.random.default_rng(0)
    a, b = rng.standard_normal((2, _SIZE, _SIZE), dtype=np.float32)
    started = time.perf_counter()
    try:
        product, gradient = _on_device(device, a, b)
    # A driver may raise anything at all here, and every kind of it means the same.
    except Exception as error:
        raise DeviceMissing(
            f"device {device}: the probe kernel did not run: {type(error).__name__}: {error}"[:500]
        ) from error
    expected = a @ b
    largest_error = max(
        float(np.abs(product - expected).max()),
        float(np.abs(gradient - 2 * expected @ b.T).max()) / _SIZE,
    )
    if not largest_error < _TOLERANCE:
        raise DeviceMissing(
            f"device {device}: expected numpy's product and gradient within {_TOLERANCE}, "
            f"found an error of {largest_error}"
        )
    seconds = round(time.perf_counter() - started, 3)
    described = runtime.describe()
    return {
        "device": device,
        "seconds": seconds,
        "largest_error": largest_error,
        "process": described,
    }


def _on_device(device: str, a: np.ndarray, b: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    if device != Device.DEFAULT:
        raise ValueError(f"this process runs on {Device.DEFAULT}")
    left, right = Tensor(a).realize(), Tensor(b).realize()
    product = left @ right
    (gradient,) = product.square().sum().gradient(left)
    return product.numpy(), gradient.numpy()
