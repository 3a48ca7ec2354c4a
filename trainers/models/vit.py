"""An encoder over the patches of an image (the vision transformer, small).

Shape suffixes: B batch, C channels, H height, W width, T patches, P pixels of a patch, D width.
"""

import numpy as np
from tinygrad import Tensor

from trainers.config import Vit
from trainers.data.catalog import ImageSet
from trainers.kernels.ops import Ops
from trainers.models.layers import LayerNorm, Linear, Positions
from trainers.models.transformer import DEVIATION, Block


class VitNet:
    """Patches and their places embedded, blocks, a norm, the mean over the patches, and logits."""

    def __init__(
        self, config: Vit, *, images: ImageSet, ops: Ops, rng: np.random.Generator
    ) -> None:
        channels, height, width = images.image_shape
        side = config.patch
        self.embed = Linear(
            ops, rng, inputs=channels * side * side, outputs=config.width, deviation=DEVIATION
        )
        count = (height // side) * (width // side)
        self.positions = Positions(rng, length=count, width=config.width)
        self.blocks = [
            Block(config, ops=ops, rng=rng, is_causal=False) for _ in range(config.layers)
        ]
        self.norm = LayerNorm(ops, config.width)
        self.head = Linear(
            ops, rng, inputs=config.width, outputs=len(images.classes), deviation=DEVIATION
        )
        self._patch = side
        self._dropout = config.dropout

    def __call__(self, x_BCHW: Tensor) -> Tensor:  # noqa: N803  shape suffix
        """Return logits (B, classes) in the dtype of the input."""
        x_BTD = self.positions(self.embed(self._patches(x_BCHW)))  # noqa: N806  shape suffix
        x_BTD = x_BTD.dropout(self._dropout)  # noqa: N806  shape suffix
        for block in self.blocks:
            x_BTD = block(x_BTD)  # noqa: N806  shape suffix
        return self.head(self.norm(x_BTD).mean(axis=1))

    def _patches(self, x_BCHW: Tensor) -> Tensor:  # noqa: N803  shape suffix
        """Return (B, T, P): patches row by row, pixels of each by channel, row and column."""
        batch, channels, height, width = (int(size) for size in x_BCHW.shape)
        side = self._patch
        rows, columns = height // side, width // side
        tiles = x_BCHW.reshape(batch, channels, rows, side, columns, side)
        return tiles.permute(0, 2, 4, 1, 3, 5).reshape(batch, rows * columns, -1)
