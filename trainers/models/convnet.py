"""Small convolutional network after LeNet-5 (LeCun et al. 1998, §II.B), with ReLU and max pooling.

Shape suffixes: B batch, C channels, H height, W width, F features.
"""

import numpy as np
from tinygrad import Tensor

from trainers.config import Convnet
from trainers.data.catalog import ImageSet
from trainers.kernels.ops import Ops
from trainers.models.layers import Conv2d, Linear


class ConvNet:
    """Convolution, ReLU and perhaps 2 x 2 pooling per layer; one hidden layer, dropout, logits.

    A convolution is unpadded while its input is more than two kernels wide, and padded to keep its
    size after that, so that four layers fit on 28 x 28 pixels.
    """

    def __init__(
        self, config: Convnet, *, images: ImageSet, ops: Ops, rng: np.random.Generator
    ) -> None:
        inputs, size, _ = images.image_shape
        self.conv = []
        for outputs in config.channels:
            padding = 0 if size > 2 * config.kernel else config.kernel // 2
            layer = Conv2d(
                ops, rng, channels=(inputs, outputs), kernel=config.kernel, padding=padding
            )
            self.conv.append(layer)
            inputs, size = outputs, size + 2 * padding - config.kernel + 1
            if self._has_pool(config, len(self.conv)):
                size //= 2
        self.hidden = Linear(ops, rng, inputs=inputs * size * size, outputs=config.hidden)
        self.linear = Linear(ops, rng, inputs=config.hidden, outputs=len(images.classes))
        self._dropout = config.dropout
        self._config = config
        self._ops = ops

    def __call__(self, x_BCHW: Tensor) -> Tensor:  # noqa: N803  shape suffix
        """Return logits (B, classes) in the dtype of the input."""
        for number, layer in enumerate(self.conv, 1):
            x_BCHW = layer(x_BCHW)  # noqa: N806  shape suffix
            if self._has_pool(self._config, number):
                # Before ReLU, which then has a quarter of the values; the result is the same.
                x_BCHW = self._ops.max_pool_2x2(x_BCHW)  # noqa: N806  shape suffix
            x_BCHW = x_BCHW.relu()  # noqa: N806  shape suffix
        x_BF = self.hidden(x_BCHW.flatten(1)).relu().dropout(self._dropout)  # noqa: N806
        return self.linear(x_BF)

    @staticmethod
    def _has_pool(config: Convnet, number: int) -> bool:
        return config.pool == "each" or number == len(config.channels)
