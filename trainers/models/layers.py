"""Layers whose weights come from numpy and are cast to the precision of what they are given.

Weights are float32 always. tinygrad's own random initial weights differ between its renderers;
numpy's do not. Attribute names are those of tinygrad and PyTorch, so their files load as they are.

Shape suffixes: B batch, C channels, O output channels, H height, W width, F features.
"""

import math

import numpy as np
from tinygrad import Tensor, dtypes
from tinygrad.helpers import TRAINING

from trainers.kernels.ops import Ops

_EPSILON = 1e-5
_MOMENTUM = 0.1
_POSITION_DEVIATION = 0.02


def _kaiming(rng: np.random.Generator, *, shape: tuple[int, ...], fan_in: int) -> Tensor:
    """Return float32 weights drawn from a normal distribution of variance 2 / fan_in.

    Source: He et al. 2015, arXiv:1502.01852 §2.2.
    """
    scale = np.float32(math.sqrt(2.0 / fan_in))
    return Tensor(rng.standard_normal(shape, dtype=np.float32) * scale).realize()


def _uniform(rng: np.random.Generator, *, shape: tuple[int, ...], fan_in: int) -> Tensor:
    """Return float32 weights drawn evenly from within 1 / sqrt(fan_in) of 0.

    A sixth of `_kaiming`'s variance: shallow networks without normalisation learn faster from it.

    Source: LeCun et al. 1998, Efficient BackProp, §4.6, with PyTorch's bound.
    """
    bound = 1.0 / math.sqrt(fan_in)
    return Tensor(rng.uniform(-bound, bound, shape).astype(np.float32)).realize()


def _normal(rng: np.random.Generator, *, shape: tuple[int, ...], deviation: float) -> Tensor:
    """Return float32 weights drawn from a normal distribution around 0."""
    return Tensor(rng.standard_normal(shape, dtype=np.float32) * np.float32(deviation)).realize()


class Conv2d:
    """Square convolution: with bias, or without for a normalisation that follows."""

    def __init__(  # noqa: PLR0913  what a convolution is made of
        self,
        ops: Ops,
        rng: np.random.Generator,
        *,
        channels: tuple[int, int],
        kernel: int,
        stride: int = 1,
        padding: int = 0,
        bias: bool = True,
    ) -> None:
        inputs, outputs = channels
        shape = (outputs, inputs, kernel, kernel)
        fan_in = inputs * kernel * kernel
        draw = _uniform if bias else _kaiming
        self.weight = draw(rng, shape=shape, fan_in=fan_in)
        self.bias = Tensor.zeros(outputs).contiguous().realize() if bias else None
        self._ops = ops
        self._stride = stride
        self._padding = padding

    def __call__(self, x_BCHW: Tensor) -> Tensor:  # noqa: N803  shape suffix
        """Return (B, O, H', W') in the dtype of the input."""
        bias = None if self.bias is None else self.bias.cast(x_BCHW.dtype)
        weight = self.weight.cast(x_BCHW.dtype)
        return self._ops.conv2d(x_BCHW, weight, bias, stride=self._stride, padding=self._padding)


class Linear:
    """Affine map over the last axis; its weights are drawn normally if a deviation is given."""

    def __init__(
        self,
        ops: Ops,
        rng: np.random.Generator,
        *,
        inputs: int,
        outputs: int,
        deviation: float | None = None,
    ) -> None:
        self._ops = ops
        shape = (outputs, inputs)
        if deviation is None:
            self.weight = _uniform(rng, shape=shape, fan_in=inputs)
        else:
            self.weight = _normal(rng, shape=shape, deviation=deviation)
        self.bias = Tensor.zeros(outputs).contiguous().realize()

    def __call__(self, x_BF: Tensor) -> Tensor:  # noqa: N803  shape suffix
        """Return (B, outputs) in the dtype of the input."""
        weight, bias = self.weight.cast(x_BF.dtype), self.bias.cast(x_BF.dtype)
        return self._ops.linear(x_BF, weight, bias)


class Positions:
    """What is added to the stream at each place in a sequence, learned."""

    def __init__(self, rng: np.random.Generator, *, length: int, width: int) -> None:
        self.weight = _normal(rng, shape=(length, width), deviation=_POSITION_DEVIATION)

    def __call__(self, x_BTD: Tensor) -> Tensor:  # noqa: N803  shape suffix
        """Return the sum in the dtype of the input."""
        return x_BTD + self.weight.cast(x_BTD.dtype)


class LayerNorm:
    """Layer normalisation over the last axis, computed in float32.

    Source: Ba et al. 2016, arXiv:1607.06450 §3.
    """

    def __init__(self, ops: Ops, width: int) -> None:
        self._ops = ops
        self.weight = Tensor.ones(width).contiguous().realize()
        self.bias = Tensor.zeros(width).contiguous().realize()

    def __call__(self, x_BTD: Tensor) -> Tensor:  # noqa: N803  shape suffix
        """Return the normalised input in its own dtype."""
        wide_BTD = x_BTD.cast(dtypes.float32)  # noqa: N806  shape suffix
        normal_BTD = self._ops.layer_norm(  # noqa: N806  shape suffix
            wide_BTD, self.weight, self.bias, epsilon=_EPSILON
        )
        return normal_BTD.cast(x_BTD.dtype)


class BatchNorm:
    """Batch normalisation in float32, whatever the precision around it.

    In training it normalises by the batch and moves the running values by a tenth; otherwise it
    normalises by the running values.

    Source: Ioffe and Szegedy 2015, arXiv:1502.03167, algorithm 1.
    """

    def __init__(self, ops: Ops, channels: int) -> None:
        self._ops = ops
        self.weight = Tensor.ones(channels).contiguous().realize()
        self.bias = Tensor.zeros(channels).contiguous().realize()
        self.running_mean = Tensor.zeros(channels).contiguous().realize().is_param_(False)
        self.running_var = Tensor.ones(channels).contiguous().realize().is_param_(False)

    def __call__(self, x_BCHW: Tensor) -> Tensor:  # noqa: N803  shape suffix
        """Return the normalised input in its own dtype."""
        wide_BCHW = x_BCHW.cast(dtypes.float32)  # noqa: N806  shape suffix
        if not TRAINING:
            return self._by_running_values(wide_BCHW).cast(x_BCHW.dtype)
        made = self._ops.batch_norm(wide_BCHW, self.weight, self.bias, epsilon=_EPSILON)
        return self._followed(*made).cast(x_BCHW.dtype)

    def relu(self, x_BCHW: Tensor, residual_BCHW: Tensor | None = None) -> Tensor:  # noqa: N803  shape suffix
        """Return the normalised input, plus the residual if given, where it is positive, else 0."""
        wide_BCHW = x_BCHW.cast(dtypes.float32)  # noqa: N806  shape suffix
        other = None if residual_BCHW is None else residual_BCHW.cast(dtypes.float32)
        if not TRAINING:
            normal_BCHW = self._by_running_values(wide_BCHW)  # noqa: N806  shape suffix
            added_BCHW = normal_BCHW if other is None else normal_BCHW + other  # noqa: N806
            return added_BCHW.relu().cast(x_BCHW.dtype)
        made = self._ops.batch_norm_relu(wide_BCHW, self.weight, self.bias, other, epsilon=_EPSILON)
        return self._followed(*made).cast(x_BCHW.dtype)

    def _by_running_values(self, x_BCHW: Tensor) -> Tensor:  # noqa: N803  shape suffix
        scale_C = (self.running_var + _EPSILON).rsqrt()  # noqa: N806  shape suffix
        return x_BCHW.batchnorm(self.weight, self.bias, self.running_mean, scale_C)

    def _followed(self, y_BCHW: Tensor, mean_C: Tensor, var_C: Tensor) -> Tensor:  # noqa: N803  shape suffix
        """Move the running values by those of the batch, and return what was normalised."""
        n = math.prod(int(size) for size in y_BCHW.shape) // int(y_BCHW.shape[1])
        _move(self.running_mean, mean_C)
        _move(self.running_var, var_C * (n / (n - 1)))
        return y_BCHW


def _move(running_C: Tensor, value_C: Tensor) -> None:  # noqa: N803  shape suffix
    running_C.assign((1 - _MOMENTUM) * running_C + _MOMENTUM * value_C)
