"""The residual network for CIFAR-10: He et al. 2015, arXiv:1512.03385 §4.2, shortcut option A.

Tensor names are those of github.com/akamaster/pytorch_resnet_cifar10, whose weights load as they
are. Shape suffixes: B batch, C channels, H height, W width.
"""

import numpy as np
from tinygrad import Tensor

from trainers.config import Resnet
from trainers.data.catalog import ImageSet
from trainers.kernels.ops import Ops
from trainers.models.layers import BatchNorm, Conv2d, Linear


class Block:
    """Two 3 x 3 convolutions around which the input is added."""

    def __init__(
        self, ops: Ops, rng: np.random.Generator, *, channels: tuple[int, int], stride: int
    ) -> None:
        inputs, outputs = channels
        self.conv1 = _conv3x3(ops, rng, channels=channels, stride=stride)
        self.bn1 = BatchNorm(ops, outputs)
        self.conv2 = _conv3x3(ops, rng, channels=(outputs, outputs), stride=1)
        self.bn2 = BatchNorm(ops, outputs)
        self._stride = stride
        self._widened = outputs - inputs

    def __call__(self, x_BCHW: Tensor) -> Tensor:  # noqa: N803  shape suffix
        """Return (B, outputs, H / stride, W / stride)."""
        out_BCHW = self.bn1.relu(self.conv1(x_BCHW))  # noqa: N806  shape suffix
        return self.bn2.relu(self.conv2(out_BCHW), self._shortcut(x_BCHW))

    def _shortcut(self, x_BCHW: Tensor) -> Tensor:  # noqa: N803  shape suffix
        """Return the input, subsampled and with zero channels on both sides where sizes differ."""
        if not self._widened:
            return x_BCHW
        front = self._widened // 2
        strided_BCHW = x_BCHW[:, :, :: self._stride, :: self._stride]  # noqa: N806  shape suffix
        return strided_BCHW.pad((None, (front, self._widened - front), None, None))


class ResNet:
    """A 3 x 3 convolution, three stages of n blocks at widths w, 2w, 4w, mean pooling, logits."""

    def __init__(
        self, config: Resnet, *, images: ImageSet, ops: Ops, rng: np.random.Generator
    ) -> None:
        width, blocks = config.width, (config.depth - 2) // 6
        self.conv1 = _conv3x3(ops, rng, channels=(images.image_shape[0], width), stride=1)
        self.bn1 = BatchNorm(ops, width)
        self.layer1 = _stage(ops, rng, channels=(width, width), blocks=blocks, stride=1)
        self.layer2 = _stage(ops, rng, channels=(width, 2 * width), blocks=blocks, stride=2)
        self.layer3 = _stage(ops, rng, channels=(2 * width, 4 * width), blocks=blocks, stride=2)
        self.linear = Linear(ops, rng, inputs=4 * width, outputs=len(images.classes))

    def __call__(self, x_BCHW: Tensor) -> Tensor:  # noqa: N803  shape suffix
        """Return logits (B, classes) in the dtype of the input."""
        x_BCHW = self.bn1.relu(self.conv1(x_BCHW))  # noqa: N806  shape suffix
        for block in (*self.layer1, *self.layer2, *self.layer3):
            x_BCHW = block(x_BCHW)  # noqa: N806  shape suffix
        return self.linear(x_BCHW.mean(axis=(2, 3)))


def _stage(
    ops: Ops, rng: np.random.Generator, *, channels: tuple[int, int], blocks: int, stride: int
) -> list[Block]:
    inputs, outputs = channels
    first = Block(ops, rng, channels=channels, stride=stride)
    rest = [Block(ops, rng, channels=(outputs, outputs), stride=1) for _ in range(1, blocks)]
    assert inputs <= outputs, channels
    return [first, *rest]


def _conv3x3(
    ops: Ops, rng: np.random.Generator, *, channels: tuple[int, int], stride: int
) -> Conv2d:
    return Conv2d(ops, rng, channels=channels, kernel=3, stride=stride, padding=1, bias=False)
