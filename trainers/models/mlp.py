"""Fully connected network. Shape suffixes: B batch, C channels, H height, W width, F features."""

from itertools import pairwise

import numpy as np
from tinygrad import Tensor

from trainers.config import Mlp
from trainers.data.catalog import ImageSet
from trainers.kernels.ops import Ops
from trainers.models.layers import Linear


class MlpNet:
    """Linear layers with ReLU between them, over flattened pixels."""

    def __init__(
        self, config: Mlp, *, images: ImageSet, ops: Ops, rng: np.random.Generator
    ) -> None:
        channels, height, width = images.image_shape
        sizes = (channels * height * width, *config.hidden, len(images.classes))
        self.layers = [
            Linear(ops, rng, inputs=inputs, outputs=outputs) for inputs, outputs in pairwise(sizes)
        ]

    def __call__(self, x_BCHW: Tensor) -> Tensor:  # noqa: N803  shape suffix
        """Return logits (B, classes) in the dtype of the input."""
        x_BF = x_BCHW.flatten(1)  # noqa: N806  shape suffix
        for layer in self.layers[:-1]:
            x_BF = layer(x_BF).relu()  # noqa: N806  shape suffix
        return self.layers[-1](x_BF)
